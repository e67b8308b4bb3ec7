//! The registry of this module's error codes. A code is forever: a retired one stays, and is never given to another
//! error. Each has a page `docs/errors/<code>.md`; a test asserts it.

/// An error code.
#[derive(Debug, PartialEq, Eq)]
pub struct Code {
    /// The code.
    pub id: &'static str,
    /// What it stands for, in a few words: also the title of its page.
    pub title: &'static str,
    /// Its page, as in `docs/errors`.
    pub page: &'static str,
}

/// The page of a code.
pub fn page(code: &str) -> Option<String> {
    ALL.iter().find(|c| c.id == code).map(|c| c.page.to_owned())
}

macro_rules! codes {
    ($($name:ident $id:literal $title:literal)*) => {
        $(#[doc = $title] pub static $name: Code =
            Code { id: $id, title: $title, page: include_str!(concat!("../../docs/errors/", $id, ".md")) };)*
        /// All codes, in order.
        pub static ALL: &[&Code] = &[$(&$name),*];
    };
}

codes! {
    UNREADABLE "HX1001" "a file or folder cannot be read"
    SYNTAX "HX1002" "not valid TOML"
    UNKNOWN_FIELD "HX1003" "unknown setting"
    VALUE "HX1004" "a value that does not fit"
    MISSING "HX1005" "a setting is missing"
    UNKNOWN_KIND "HX1006" "unknown kind or choice"
    DUPLICATE "HX1007" "a name is defined twice"
    NAME "HX1008" "a malformed name"
    UNKNOWN_NAME "HX1009" "a name that nothing defines"
    FALLBACK_CYCLE "HX1010" "functions fall back to each other in a circle"
    TRIGGER_CYCLE "HX1011" "triggers feed each other in a circle"
    SECRET_LITERAL "HX1012" "a secret written into the configuration"
    SECRET_MISSING "HX1013" "a secret that is not there"
    SECRET_UNFIT "HX1014" "a secret that cannot be used"
    FILE_OUTSIDE "HX1015" "a file outside the configuration folder"
    FUNCTION_FILE "HX1016" "a function file that cannot be read"
    FUNCTION_BODY "HX1017" "a function needs exactly one body"
    LISTEN_OPEN "HX1018" "listening beyond this machine without a token"
    SET_TWICE "HX1019" "a setting is set twice"
    OVERRIDE "HX1020" "an environment variable or flag that sets nothing"
    SCHEDULE "HX1021" "a schedule that cannot be kept"
    TOO_LARGE "HX1022" "a configuration beyond its limits"
    UNUSED "HX1023" "a definition that nothing uses"
    UNVERIFIED "HX1024" "a webhook that anybody can call"
    UNREACHABLE "HX1025" "a target that will be refused"
    FUNCTION_CODE "HX1026" "a function that its language refuses"
    SECRET_EXPOSED "HX1027" "a secret that others may get"
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_code_has_its_page_and_each_page_its_code() {
        let pages = std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/errors"));
        for code in ALL {
            let page = pages.join(format!("{}.md", code.id));
            let text = std::fs::read_to_string(&page).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
            let title = format!("# {}: {}\n", code.id, code.title);
            assert!(text.starts_with(&title), "{} must begin with {title:?}", page.display());
        }
        let known = |name: &str| ALL.iter().any(|c| name == format!("{}.md", c.id));
        for entry in std::fs::read_dir(pages).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            assert!(!name.starts_with("HX1") || known(&name), "{name} is the page of no code");
        }
    }

    #[test]
    fn codes_are_in_order_and_unique() {
        assert!(ALL.windows(2).all(|w| w[0].id < w[1].id));
    }
}
