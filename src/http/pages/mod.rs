//! The pages that a person sees: the question for an e-mail address, and refusals.
//!
//! No page has a script or loads anything from anywhere; every value is escaped.

pub(crate) mod view;

use crate::http::pages::view::engine;
use crate::http::pages::view::page;
use crate::http::pages::view::style_source;
use crate::http::pages::view::unrendered;
use actix_web::HttpResponse;
use actix_web::http::StatusCode;
use handlebars::Handlebars;
use handlebars::TemplateError;
use serde::Serialize;
use serde_json::json;
use std::sync::Arc;

const STYLE: &str = include_str!("../../../templates/pages/style.css");
const LAYOUT: &str = include_str!("../../../templates/pages/layout.hbs");
const EMAIL: &str = include_str!("../../../templates/pages/email.hbs");
const ERROR: &str = include_str!("../../../templates/pages/error.hbs");

/// The product's own pages, compiled once.
#[derive(Clone)]
pub(crate) struct Pages(Arc<Compiled>);

struct Compiled {
    templates: Handlebars<'static>,
    style: String,
}

impl Pages {
    pub(crate) fn new() -> Result<Self, Box<TemplateError>> {
        let mut templates = engine();
        for (name, text) in [("layout", LAYOUT), ("email", EMAIL), ("error", ERROR)] {
            templates.register_template_string(name, text)?;
        }
        Ok(Self(Arc::new(Compiled { templates, style: style_source(STYLE) })))
    }

    /// A refusal: what happened, and what the person can do next.
    pub(crate) fn error(&self, status: StatusCode, title: &str, message: &str) -> HttpResponse {
        let values = json!({ "style": STYLE, "title": title, "message": message });
        self.render("error", status, "form-action 'none'", &values)
    }

    /// Asks for the e-mail address that leads to the person's own provider. The page is the same
    /// for everybody, so that it does not tell whose customer an address is.
    pub(crate) fn email(&self, continue_token: &str, problem: Option<&str>) -> HttpResponse {
        let values = json!({
            "style": STYLE,
            "title": "Sign in",
            "continue": continue_token,
            "problem": problem.unwrap_or_default(),
        });
        // No `form-action`: browsers hold the whole chain of redirects after a form to it, and this
        // one leads to a provider's origin and, if she is signed in there, on to the application's
        // redirect URI, which may have a scheme of its own.
        self.render("email", StatusCode::OK, "", &values)
    }

    fn render(
        &self,
        name: &str,
        status: StatusCode,
        sources: &str,
        values: &impl Serialize,
    ) -> HttpResponse {
        // The empty icon keeps browsers from asking for /favicon.ico.
        let mut allowed = format!("style-src {}; img-src data:", self.0.style);
        if !sources.is_empty() {
            allowed.push_str("; ");
            allowed.push_str(sources);
        }
        match self.0.templates.render(name, values) {
            Ok(html) => page(status, &allowed, html),
            Err(error) => unrendered(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use actix_web::body::MessageBody as _;
    use actix_web::http::header;

    const HOSTILE: &str = "\"'><img src=x onerror=alert(1)>{{title}}<script>alert(2)</script>";

    fn parts(response: HttpResponse) -> (StatusCode, Vec<(String, String)>, String) {
        let text = |value: &header::HeaderValue| value.to_str().unwrap().to_owned();
        let headers =
            response.headers().iter().map(|(name, value)| (name.to_string(), text(value)));
        let (status, headers) = (response.status(), headers.collect());
        let body = response.into_body().try_into_bytes().unwrap();
        (status, headers, String::from_utf8(body.to_vec()).unwrap())
    }

    #[test]
    fn hostile_values_stay_text() {
        let pages = Pages::new().unwrap();
        let (status, _, error) = parts(pages.error(StatusCode::FORBIDDEN, HOSTILE, HOSTILE));
        assert_eq!(status, StatusCode::FORBIDDEN);
        let (_, _, email) = parts(pages.email(HOSTILE, Some(HOSTILE)));
        for html in [error, email] {
            assert!(html.contains("&lt;img src"), "{html}");
            assert!(!html.contains("<img") && !html.contains("<script"), "{html}");
            assert!(!html.contains("value=\"\""), "{html}");
        }
    }

    #[test]
    fn every_page_is_locked_down_and_its_style_is_the_allowed_one() {
        let pages = Pages::new().unwrap();
        for response in [pages.error(StatusCode::BAD_REQUEST, "t", "m"), pages.email("c", None)] {
            let (_, headers, html) = parts(response);
            let find = |name: &str| {
                let found = headers.iter().find(|(n, _)| n == name);
                found.map(|(_, value)| value.as_str()).unwrap()
            };
            let policy = find("content-security-policy");
            assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
            assert!(policy.ends_with("frame-ancestors 'none'; base-uri 'none'"), "{policy}");
            assert!(!policy.contains("unsafe") && !policy.contains("script-src"), "{policy}");
            assert_eq!(find("x-frame-options"), "DENY");
            assert_eq!(find("referrer-policy"), "no-referrer");
            assert_eq!(find("x-content-type-options"), "nosniff");
            assert_eq!(find("cache-control"), "no-store");
            let style = html.split("<style>").nth(1).and_then(|rest| rest.split("</style>").next());
            assert!(policy.contains(&style_source(style.unwrap())), "{policy}");
        }
    }

    #[test]
    fn the_question_for_an_address_posts_it_with_where_to_go_on() {
        let (_, _, html) = parts(Pages::new().unwrap().email("c0ntinue", None));
        assert!(html.contains("method=\"post\" action=\"/login/provider\""), "{html}");
        assert!(html.contains("type=\"hidden\" name=\"continue\" value=\"c0ntinue\""), "{html}");
        assert!(html.contains("type=\"email\"") && html.contains("name=\"email\""), "{html}");
        assert!(!html.contains("role=\"alert\""), "{html}");
    }
}
