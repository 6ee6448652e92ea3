//! The person's way through a sign-in: to the provider, back from it, and on to the application.

use crate::domain::authorization::ProtocolError;
use crate::domain::secret::Secret;
use crate::http::Edge;
use crate::http::body::Body;
use crate::http::pages::Pages;
use crate::http::parameters::Parameters;
use crate::service::Service;
use crate::service::authorize::{
    Begun, BrowserBinding, LOGIN_LIFETIME, NotAuthorized, ReplyTo, Unanswerable, binding_name,
};
use crate::service::login::{Callback, SignedIn};
use actix_web::cookie::{Cookie, SameSite};
use actix_web::http::{StatusCode, header};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use url::form_urlencoded;

fn cookie_name(edge: Edge, name: &str) -> String {
    // A browser accepts a `__Host-` cookie from this host over https only, and sends it nowhere else.
    let prefix = if edge.secure { "__Host-" } else { "" };
    format!("{prefix}rolemint-login-{name}")
}

fn bind(edge: Edge, binding: &BrowserBinding) -> Cookie<'static> {
    let age = actix_web::cookie::time::Duration::seconds(LOGIN_LIFETIME.num_seconds());
    Cookie::build(cookie_name(edge, &binding.name), binding.value.reveal().clone())
        .path("/")
        .http_only(true)
        .secure(edge.secure)
        // Lax: the provider sends the browser back by a top-level navigation.
        .same_site(SameSite::Lax)
        .max_age(age)
        .finish()
}

fn presented(request: &HttpRequest, edge: Edge, token: &str) -> Option<Secret<String>> {
    let cookie = request.cookie(&cookie_name(edge, &binding_name(token)))?;
    Some(Secret::new(cookie.value().to_owned()))
}

fn unbind(edge: Edge, token: &str) -> Cookie<'static> {
    let mut cookie = Cookie::build(cookie_name(edge, &binding_name(token)), "")
        .path("/")
        .http_only(true)
        .secure(edge.secure)
        .same_site(SameSite::Lax)
        .finish();
    cookie.make_removal();
    cookie
}

fn redirect(location: &str) -> actix_web::HttpResponseBuilder {
    // 303, so that a form's body goes nowhere else (RFC 9700 §4.12).
    let mut response = HttpResponse::SeeOther();
    response
        .insert_header((header::LOCATION, location))
        .insert_header((header::CACHE_CONTROL, "no-store"));
    response
}

/// The client's redirect URI with an answer to its request; `iss` always among it (RFC 9207 §2).
fn reply(to: &ReplyTo, issuer: &str, answer: &[(&str, &str)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    query.extend_pairs(answer);
    if let Some(state) = &to.state {
        query.append_pair("state", state);
    }
    query.append_pair("iss", issuer);
    let separator = if to.redirect_uri.contains('?') { '&' } else { '?' };
    format!("{}{separator}{}", to.redirect_uri, query.finish())
}

fn reply_error(to: &ReplyTo, issuer: &str, error: &ProtocolError) -> String {
    let answer = [("error", error.code.as_str()), ("error_description", error.description)];
    reply(to, issuer, &answer)
}

/// The next step of a sign-in that goes on.
pub(super) fn go_on(edge: Edge, pages: &Pages, begun: &Begun) -> HttpResponse {
    match begun {
        Begun::Provider { location, binding } => {
            redirect(location.as_str()).cookie(bind(edge, binding)).finish()
        }
        Begun::AskEmail { continuation, binding, unknown } => {
            // SECURITY: the same words for an address that is nobody's and for one that cannot sign in.
            let problem = unknown.then_some(
                "We cannot sign you in with this address. Check it, or ask your administrator.",
            );
            let mut response = pages.email(continuation.reveal(), problem);
            // Cannot fail: the cookie's name and value are ours.
            let _ = response.add_cookie(&bind(edge, binding));
            response
        }
    }
}

/// A sign-in that comes to nothing: told to the client where it can be, and to the person where not.
pub(super) fn give_up(service: &Service, pages: &Pages, error: &NotAuthorized) -> HttpResponse {
    match error {
        NotAuthorized::Refused { to, error } => {
            redirect(&reply_error(to, service.issuer(), error)).finish()
        }
        NotAuthorized::Unanswerable(Unanswerable::Client) => pages.error(
            StatusCode::BAD_REQUEST,
            "Unknown application",
            "The application that sent you here is not known to this server. Tell the people who run it.",
        ),
        NotAuthorized::Unanswerable(Unanswerable::RedirectUri) => pages.error(
            StatusCode::BAD_REQUEST,
            "This application is not set up correctly",
            "The address to return to (redirect_uri) is not one that the application has registered. Tell the people who run it.",
        ),
        NotAuthorized::Unanswerable(Unanswerable::UnknownLogin) => pages.error(
            StatusCode::BAD_REQUEST,
            "This sign-in cannot go on",
            "It was begun in another browser, has taken too long, or is over. Go back to the application and sign in again.",
        ),
        NotAuthorized::Unavailable(cause) => {
            let cause = crate::service::Report(cause);
            tracing::error!(%cause, "a sign-in failed");
            let mut response = pages.error(
                StatusCode::SERVICE_UNAVAILABLE,
                "Not available now",
                "Something that this server needs is away. Try again in a moment.",
            );
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, header::HeaderValue::from_static("1"));
            response
        }
    }
}

/// `GET /login/callback`: the provider sends the browser back.
pub(super) async fn finish_login(
    request: HttpRequest,
    service: Data<Service>,
    pages: Data<Pages>,
    edge: Data<Edge>,
) -> HttpResponse {
    let unknown = || {
        let error = NotAuthorized::Unanswerable(Unanswerable::UnknownLogin);
        give_up(&service, &pages, &error)
    };
    let parameters = match Parameters::parse(request.query_string().as_bytes()) {
        Ok(parameters) if parameters.repeated().is_none() => parameters,
        _ => return unknown(),
    };
    let Some(state) = parameters.get("state") else { return unknown() };
    let callback = match (parameters.owned("code"), parameters.owned("error")) {
        (Some(code), None) => {
            Callback::Answer { code: Secret::new(code), iss: parameters.owned("iss") }
        }
        (None, Some(error)) => Callback::Error(error),
        _ => return unknown(),
    };
    let binding = presented(&request, **edge, state);
    let mut response = match service.finish_login(state, binding.as_ref(), callback).await {
        Ok(SignedIn { to, code }) => {
            redirect(&reply(&to, service.issuer(), &[("code", code.reveal())])).finish()
        }
        Err(error) => give_up(&service, &pages, &error),
    };
    if binding.is_some() {
        let _ = response.add_cookie(&unbind(**edge, state));
    }
    response
}

/// `POST /login/provider`: the person typed their e-mail address.
pub(super) async fn continue_login(
    request: HttpRequest,
    body: Body,
    service: Data<Service>,
    pages: Data<Pages>,
    edge: Data<Edge>,
) -> HttpResponse {
    let parameters = body.bytes().and_then(|bytes| Parameters::parse(&bytes).ok());
    let parameters = parameters.filter(|parameters| parameters.repeated().is_none());
    let continuation = parameters.as_ref().and_then(|parameters| parameters.get("continue"));
    let (Some(parameters), Some(continuation)) = (&parameters, continuation) else {
        let error = NotAuthorized::Unanswerable(Unanswerable::UnknownLogin);
        return give_up(&service, &pages, &error);
    };
    let binding = presented(&request, **edge, continuation);
    let email = parameters.get("email").unwrap_or_default();
    match service.continue_with_email(continuation, binding.as_ref(), email).await {
        Ok(begun) => go_on(**edge, &pages, &begun),
        Err(error) => give_up(&service, &pages, &error),
    }
}
