//! An HTTP client as a browser is one (cookies, no trust in redirects), and every answer looked
//! through for secrets.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use regex::Regex;
use reqwest::header::{ACCEPT, CONTENT_TYPE, COOKIE, HeaderMap, LOCATION, ORIGIN, SET_COOKIE};
use reqwest::redirect::Policy;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;
use url::{Url, form_urlencoded};

use super::secrets;

/// A client that follows no redirect, uses no proxy, and takes a connection for each request: one that is
/// kept may be closed by the server in the moment in which it is used again.
pub(crate) fn client() -> reqwest::Client {
    let limit = Duration::from_secs(30);
    let client = reqwest::Client::builder().redirect(Policy::none()).no_proxy();
    client.pool_max_idle_per_host(0).timeout(limit).build().unwrap()
}

/// One person's browser, or one program: who has the cookies.
pub(crate) struct Browser {
    base: Url,
    client: reqwest::Client,
    cookies: Mutex<Vec<Cookie>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Cookie {
    pub(crate) name: String,
    pub(crate) value: String,
    pub(crate) path: String,
    /// The whole header, for what else it says (`HttpOnly`, `SameSite`, …).
    pub(crate) header: String,
}

impl Browser {
    /// Paths are taken under `base`, an issuer.
    pub(crate) fn new(base: &str) -> Self {
        Self { base: base.parse().unwrap(), client: client(), cookies: Mutex::default() }
    }

    pub(crate) fn url(&self, path: &str) -> Url {
        self.base.join(path).unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, form: &[(&str, &str)]) -> Answer {
        self.send(with_form(self.request(Method::POST, path), form)).await
    }

    /// With a client's secret in the `Authorization` header, as `client_secret_basic` has it.
    pub(crate) async fn post_as(
        &self,
        client: (&str, &str),
        path: &str,
        form: &[(&str, &str)],
    ) -> Answer {
        let encoded =
            |text: &str| form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
        let request = self.request(Method::POST, path);
        let request = request.basic_auth(encoded(client.0), Some(encoded(client.1)));
        self.send(with_form(request, form)).await
    }

    pub(crate) async fn bearer(&self, method: Method, path: &str, token: &str) -> Answer {
        self.send(self.request(method, path).bearer_auth(token)).await
    }

    /// To be finished by the caller and given to [`Browser::send`].
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub(crate) async fn send(&self, request: RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap()
    }

    /// As [`Browser::send`], to a server that may be killed meanwhile: an error is no answer, or half of one.
    pub(crate) async fn try_send(&self, request: RequestBuilder) -> reqwest::Result<Answer> {
        let mut request = request.build().unwrap();
        let url = request.url().clone();
        let cookies = self.cookie_header(&url);
        if !cookies.is_empty() && !request.headers().contains_key(COOKIE) {
            request.headers_mut().insert(COOKIE, cookies.parse().unwrap());
        }
        let response = self.client.execute(request).await?;
        let status = response.status().as_u16();
        let headers = response.headers().clone();
        for header in headers.get_all(SET_COOKIE) {
            self.store(header.to_str().unwrap(), &url);
        }
        let body = response.bytes().await?;
        let body = String::from_utf8_lossy(&body).into_owned();
        let answer = Answer { status, headers, url, body };
        if let Ok(json) = serde_json::from_str(&answer.body) {
            secrets::note_json(&json);
        }
        if let Some(location) = answer.location() {
            secrets::note_url(&location);
        }
        Ok(answer)
    }

    fn cookie_header(&self, url: &Url) -> String {
        if url.host_str() != self.base.host_str() {
            return String::new();
        }
        let sent = |cookie: &&Cookie| {
            let path = url.path();
            let below = path.strip_prefix(cookie.path.trim_end_matches('/'));
            below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let cookies = self.cookies();
        let pairs: Vec<_> = cookies.iter().filter(sent).map(Cookie::pair).collect();
        pairs.join("; ")
    }

    fn store(&self, header: &str, url: &Url) {
        let mut parts = header.split(';').map(str::trim);
        let (name, value) = parts.next().and_then(|pair| pair.split_once('=')).unwrap();
        let default_path = url.path().rsplit_once('/').map_or("/", |(folder, _)| folder);
        let mut cookie = Cookie {
            name: name.to_owned(),
            value: value.to_owned(),
            path: if default_path.is_empty() { "/" } else { default_path }.to_owned(),
            header: header.to_owned(),
        };
        let mut gone = value.is_empty();
        for attribute in parts {
            let (key, value) = attribute.split_once('=').unwrap_or((attribute, ""));
            match key.to_ascii_lowercase().as_str() {
                "path" => value.clone_into(&mut cookie.path),
                "max-age" => gone |= value.parse::<i64>().is_ok_and(|seconds| seconds <= 0),
                _ => {}
            }
        }
        let mut cookies = self.cookies.lock().unwrap_or_else(PoisonError::into_inner);
        cookies.retain(|held| held.name != cookie.name || held.path != cookie.path);
        if !gone {
            secrets::note(&cookie.value);
            cookies.push(cookie);
        }
    }

    pub(crate) fn cookies(&self) -> Vec<Cookie> {
        self.cookies.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Walks from `start` through every redirect and sign-in form, as `username`, until a URL that begins
    /// with `until`, which it answers without asking for it. `Err` is a page that is not a sign-in form.
    pub(crate) async fn walk(
        &self,
        start: Url,
        username: &str,
        until: &str,
    ) -> Result<Url, Answer> {
        self.try_walk(start, username, until).await.unwrap()
    }

    /// As [`Browser::walk`], where a server may be killed meanwhile.
    pub(crate) async fn try_walk(
        &self,
        start: Url,
        username: &str,
        until: &str,
    ) -> reqwest::Result<Result<Url, Answer>> {
        let mut request = self.client.get(start.clone());
        let mut next = start;
        for _ in 0..30 {
            if next.as_str().starts_with(until) {
                return Ok(Ok(next));
            }
            let answer = self.try_send(request.header(ACCEPT, "text/html")).await?;
            if let Some(location) = answer.location() {
                request = self.client.get(location.clone());
                next = location;
                continue;
            }
            let Some((action, fields)) = answer.form("username").filter(|_| answer.status == 200)
            else {
                return Ok(Err(answer));
            };
            let mut fields: Vec<_> =
                fields.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            fields.push(("username", username));
            let origin = action.origin().ascii_serialization();
            request = with_form(self.client.post(action.clone()).header(ORIGIN, origin), &fields);
            next = action;
        }
        panic!("no end after 30 steps, at {next}");
    }
}

impl Cookie {
    fn pair(&self) -> String {
        format!("{}={}", self.name, self.value)
    }
}

pub(crate) fn with_form(request: RequestBuilder, form: &[(&str, &str)]) -> RequestBuilder {
    let body = form_urlencoded::Serializer::new(String::new()).extend_pairs(form).finish();
    request.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(body)
}

#[derive(Clone, Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) url: Url,
    pub(crate) body: String,
}

impl Answer {
    /// The answer, if its status is this.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}: {}", self.url.path(), self.body);
        self
    }

    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("no JSON: {}", self.body))
    }

    /// An OAuth error: status and `error`.
    #[track_caller]
    pub(crate) fn expect_error(self, status: u16, error: &str) -> Self {
        let answer = self.expect(status);
        assert_eq!(answer.json()["error"], error, "{}", answer.body);
        answer
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// Where a redirect goes.
    pub(crate) fn location(&self) -> Option<Url> {
        let location = self.headers.get(LOCATION)?.to_str().unwrap();
        (300..400).contains(&self.status).then(|| self.url.join(location).unwrap())
    }

    /// The form that has the named field: where it goes, and its hidden fields.
    pub(crate) fn form(&self, field: &str) -> Option<(Url, Vec<(String, String)>)> {
        let forms = Regex::new(r"(?is)<form\b([^>]*)>(.*?)</form>").unwrap();
        let fields = Regex::new(r"(?is)<(?:input|button|select)\b[^>]*>").unwrap();
        forms.captures_iter(&self.body).find_map(|form| {
            let tags: Vec<_> = fields.find_iter(&form[2]).map(|tag| tag.as_str()).collect();
            tags.iter().find(|tag| attribute(tag, "name").as_deref() == Some(field))?;
            let hidden = |tag: &&&str| attribute(tag, "type").as_deref() == Some("hidden");
            let hidden = tags.iter().filter(hidden).filter_map(|tag| {
                Some((attribute(tag, "name")?, attribute(tag, "value").unwrap_or_default()))
            });
            let action = attribute(&form[1], "action").unwrap_or_default();
            Some((self.url.join(&action).unwrap(), hidden.collect()))
        })
    }
}

/// A parameter of a URL's query, if it is there once.
pub(crate) fn parameter(url: &Url, name: &str) -> Option<String> {
    let mut values = url.query_pairs().filter(|(key, _)| key == name);
    let value = values.next()?.1.into_owned();
    values.next().is_none().then_some(value)
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let pattern = format!(r#"(?i)\s{name}\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s>]+))"#);
    let found = Regex::new(&pattern).unwrap().captures(tag)?;
    let text = found.iter().skip(1).flatten().next()?.as_str();
    let replacements = [
        ("&quot;", "\""),
        ("&#x27;", "'"),
        ("&#x3D;", "="),
        ("&lt;", "<"),
        ("&gt;", ">"),
        ("&amp;", "&"),
    ];
    Some(replacements.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to)))
}
