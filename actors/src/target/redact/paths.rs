//! The paths of `redact`: what is written another way than in the language finds nothing, and hides nothing. It is
//! refused, with what to write.

/// The path below the data. A path begins there, or is written whole, from `event.data.` on.
///
/// # Errors
/// It can find nothing, or nobody can tell what it means.
pub(super) fn below_data(written: &str) -> Result<&str, String> {
    let shown = written.escape_debug();
    let wrong = |why: &str, path: &str| Err(format!("the path `{shown}` {why}; write `{}`", path.escape_debug()));
    if written.is_empty() {
        return Err("a path is written, and it is empty; name members joined by dots, such as `customer.email`".into());
    }
    if written.starts_with('/') || written == "$" || written.starts_with("$.") || written.contains(['[', ']']) {
        return wrong("is that of another language: members and places are joined by dots", &dotted(written));
    }
    if written.split('.').any(str::is_empty) {
        return wrong("has an empty part", &dotted(written));
    }
    if let Some(part) = written.split('.').find(|part| part.contains('*') && *part != "*") {
        let message = format!(
            "the path `{shown}` holds `{}`: `*` stands for all of one name or place, and there is nothing for any depth or for part \
             of a name; name each, or take `keys` with a pattern, which finds names at any depth",
            part.escape_debug()
        );
        return Err(message);
    }
    if written.split('.').any(|part| part != part.trim()) {
        let parts: Vec<&str> = written.split('.').map(str::trim).filter(|part| !part.is_empty()).collect();
        return wrong("has blanks around a part", if parts.is_empty() { "*".into() } else { parts.join(".") }.as_str());
    }
    if let Some(path) = written.strip_prefix("event.data.") {
        return Ok(path);
    }
    if written == "event.data" {
        return wrong("is all of the data", "*");
    }
    // Both are names that the data itself often has: Stripe's has a member `data`, Slack's a member `event`.
    let (first, rest) = written.split_once('.').unwrap_or((written, ""));
    if first == "data" && !rest.is_empty() {
        return Err(format!(
            "the path `{shown}` may mean two things; write `{rest}` for event.data.{rest}, or `event.data.{written}` where \
             the data itself has a member `data`"
        ));
    }
    if first == "data" || first == "event" {
        return Err(format!(
            "the path `{shown}` may mean two things; write `event.data.{written}` where the data itself has a member \
             `{first}`. Attributes of the event are redacted by `patterns`, `emails`, `cards` and `keys`"
        ));
    }
    Ok(written)
}

/// What a JSON Pointer, a JSONPath or a path with brackets is called here.
fn dotted(written: &str) -> String {
    let pointer = written.starts_with('/');
    let parts = written.trim_start_matches('$').split(|c| matches!(c, '.' | '[' | ']') || pointer && c == '/');
    let parts: Vec<&str> = parts.map(|part| part.trim_matches(['\'', '"'])).filter(|part| !part.is_empty()).collect();
    if parts.is_empty() { "*".to_owned() } else { parts.join(".") }
}
