//! The console: the page at `/` for browsers, its style sheet and its modules, and the picture in the browser's tab.
//!
//! They are files of this folder, part of the binary, and hold nothing of the service: what they show they ask of
//! `/admin/…`, with the token that the person gives. So they are open to everybody, as the description of the API is.

use actix_web::http::header::{self, EntityTag, Header, HeaderValue, IfNoneMatch};
use actix_web::{HttpRequest, HttpResponse, web};
use sha2::{Digest, Sha256};
use std::collections::BTreeMap;
use std::sync::LazyLock;

use super::App;
use super::problem::Problem;

/// Nothing is loaded from elsewhere, nothing runs that is not one of these files, no other page frames it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// A file of the console.
struct File {
    media: &'static str,
    text: &'static str,
    tag: EntityTag,
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const JS: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

const PAGE: &str = "index.html";
const ICON: &str = "icon.svg";

static FILES: LazyLock<BTreeMap<&'static str, File>> = LazyLock::new(|| {
    let files = [
        (PAGE, HTML, include_str!("console/index.html")),
        (ICON, SVG, include_str!("console/icon.svg")),
        ("console.css", CSS, include_str!("console/console.css")),
        ("main.js", JS, include_str!("console/main.js")),
        ("api.js", JS, include_str!("console/api.js")),
        ("rates.js", JS, include_str!("console/rates.js")),
        ("words.js", JS, include_str!("console/words.js")),
        ("layout.js", JS, include_str!("console/layout.js")),
        ("picture.js", JS, include_str!("console/picture.js")),
        ("details.js", JS, include_str!("console/details.js")),
    ];
    let file = |(name, media, text): (&'static str, _, &'static str)| {
        let tag = EntityTag::new_strong(hex::encode(&Sha256::digest(text)[..16]));
        (name, File { media, text, tag })
    };
    files.into_iter().map(file).collect()
});

/// The routes, without `/`, which is the page for browsers only.
pub fn configure(config: &mut web::ServiceConfig) {
    config
        .service(resource("/favicon.ico").route(web::get().to(icon)).route(web::head().to(icon)))
        .service(resource("/console/{file}").route(web::get().to(file)).route(web::head().to(file)));
}

fn resource(path: &str) -> actix_web::Resource {
    web::resource(path).default_service(web::to(only_read))
}

async fn only_read() -> HttpResponse {
    let mut refused = Problem::new(405, "method-not-allowed", "this path answers GET, HEAD").response();
    refused.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
    refused
}

/// Whether a request at `/` is a browser's, for its user to look at.
pub fn is_wanted(request: &HttpRequest) -> bool {
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

/// The page.
pub fn page(request: &HttpRequest) -> HttpResponse {
    FILES.get(PAGE).map_or_else(|| HttpResponse::NotFound().finish(), |page| answer(request, page))
}

async fn icon(app: web::Data<App>, request: HttpRequest) -> Result<HttpResponse, Problem> {
    serve(&app, &request, ICON)
}

async fn file(app: web::Data<App>, request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Problem> {
    serve(&app, &request, &name)
}

fn serve(app: &App, request: &HttpRequest, name: &str) -> Result<HttpResponse, Problem> {
    app.check_host(request)?;
    // The page has one address.
    let file = FILES.get(name).filter(|_| name != PAGE);
    file.map(|file| answer(request, file)).ok_or_else(|| super::not_found(request))
}

/// A file, or that the one the browser has is still right. It asks each time: after an update of hexaFn a page with modules of
/// two versions would not work.
fn answer(request: &HttpRequest, file: &File) -> HttpResponse {
    let known = match IfNoneMatch::parse(request) {
        Ok(IfNoneMatch::Items(tags)) => tags.iter().any(|tag| tag.weak_eq(&file.tag)),
        Ok(IfNoneMatch::Any) => request.headers().contains_key(header::IF_NONE_MATCH),
        Err(_) => false,
    };
    let mut answer = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    answer
        .insert_header(header::ETag(file.tag.clone()))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::VARY, "Accept"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    if known {
        return answer.finish();
    }
    answer.content_type(file.media).body(file.text)
}

#[cfg(test)]
mod tests {
    use super::{CSS, FILES, HTML, JS};

    /// What the policy would refuse is not written in the first place, and each module that is named is there.
    #[test]
    fn the_files_keep_to_the_policy() {
        for (name, file) in FILES.iter() {
            for never in
                ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", " style=", " onclick="]
            {
                assert!(!file.text.contains(never), "{name}: {never}");
            }
            let outside =
                file.text.match_indices("http").filter(|(at, _)| !file.text[*at..].starts_with("http://www.w3.org/"));
            let links: Vec<&str> = outside
                .map(|(at, _)| &file.text[at..])
                .filter(|t| t.starts_with("http:") || t.starts_with("https:"))
                .collect();
            assert!(links.is_empty(), "{name} names an address outside");
            for import in file.text.split(" from \"./").skip(1) {
                let module = import.split('"').next().unwrap_or_default();
                assert!(FILES.contains_key(module), "{name}: {module}");
            }
        }
        for media in [HTML, CSS, JS] {
            assert!(FILES.values().any(|file| file.media == media), "{media}");
        }
    }
}
