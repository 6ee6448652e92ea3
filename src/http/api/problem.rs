//! What a caller of `/api` and `/v1` is told when it cannot be done: problem+json (RFC 9457).
//!
//! The text is fixed, but for errors that point into a document that the caller sent or may read.
//! Causes are logged here, once.

use crate::domain::revocation::NotATarget;
use crate::service::administration::{NotAdministrator, NotPermitted};
use crate::service::authenticate::NotAuthenticated;
use crate::service::resource_server::NotResourceServer;
use crate::service::revocations::NotOrdered;
use crate::service::{Report, Unavailable};
use actix_web::http::header::HeaderValue;
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::Value;
use std::borrow::Cow;
use std::fmt;

/// The kinds of problem; docs/api.md lists them. A kind's name and status never change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    InvalidRequest,
    BodyTooLarge,
    BodyTooSlow,
    UnsupportedMediaType,
    NotAuthenticated,
    InvalidToken,
    InvalidClient,
    Forbidden,
    NotFound,
    NotOverridable,
    Unchanged,
    NeedsConfirmation,
    OutOfDate,
    PreconditionFailed,
    Refused,
    PreconditionRequired,
    Busy,
    Unavailable,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::InvalidRequest => "invalid-request",
            Self::BodyTooLarge => "body-too-large",
            Self::BodyTooSlow => "body-too-slow",
            Self::UnsupportedMediaType => "unsupported-media-type",
            Self::NotAuthenticated => "not-authenticated",
            Self::InvalidToken => "invalid-token",
            Self::InvalidClient => "invalid-client",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not-found",
            Self::NotOverridable => "not-overridable",
            Self::Unchanged => "unchanged",
            Self::NeedsConfirmation => "needs-confirmation",
            Self::OutOfDate => "out-of-date",
            Self::PreconditionFailed => "precondition-failed",
            Self::Refused => "refused",
            Self::PreconditionRequired => "precondition-required",
            Self::Busy => "busy",
            Self::Unavailable => "unavailable",
        }
    }
    const fn title(self) -> &'static str {
        match self {
            Self::InvalidRequest => "The request is not understood",
            Self::BodyTooLarge => "The request body is too large",
            Self::BodyTooSlow => "The request body takes too long",
            Self::UnsupportedMediaType => "The request body is of another kind",
            Self::NotAuthenticated => "Nobody is authenticated",
            Self::InvalidToken => "The access token is not good",
            Self::InvalidClient => "Client authentication failed",
            Self::Forbidden => "This is not allowed",
            Self::NotFound => "There is no such thing",
            Self::NotOverridable => "No tenant can have its own version of this role",
            Self::Unchanged => "This is what is published already",
            Self::NeedsConfirmation => "It widens what is granted",
            Self::OutOfDate => "It does not fit what is declared now",
            Self::PreconditionFailed => "Somebody was faster",
            Self::Refused => "The template is refused",
            Self::PreconditionRequired => "Say what you have seen",
            Self::Busy => "Too many at once",
            Self::Unavailable => "Try again later",
        }
    }
    const fn status(self) -> StatusCode {
        match self {
            Self::InvalidRequest => StatusCode::BAD_REQUEST,
            Self::BodyTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::BodyTooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::NotAuthenticated | Self::InvalidToken | Self::InvalidClient => {
                StatusCode::UNAUTHORIZED
            }
            Self::Forbidden => StatusCode::FORBIDDEN,
            Self::NotFound => StatusCode::NOT_FOUND,
            Self::NotOverridable | Self::Unchanged | Self::NeedsConfirmation | Self::OutOfDate => {
                StatusCode::CONFLICT
            }
            Self::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            Self::Refused => StatusCode::UNPROCESSABLE_ENTITY,
            Self::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
            Self::Busy => StatusCode::TOO_MANY_REQUESTS,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }
}

/// How a caller could prove who it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scheme {
    Basic,
    Bearer,
}

/// One mistake, and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Mistake {
    /// Into the document or the request body: a JSON pointer (RFC 6901); empty is the whole of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) pointer: Option<String>,
    /// The same place as the command line shows it, such as `$.permissions[0].item`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) line: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<usize>,
    pub(super) message: String,
}

impl Mistake {
    pub(super) fn at(pointer: impl Into<String>, message: impl Into<String>) -> Self {
        let pointer = Some(pointer.into());
        Self { pointer, path: None, line: None, column: None, message: message.into() }
    }
}

/// An answer that is a problem. The parts beside the kind are boxed, so that a `Result` stays small.
#[derive(Debug)]
pub(in crate::http) struct Problem(Box<Parts>);

#[derive(Debug)]
struct Parts {
    kind: Kind,
    detail: Cow<'static, str>,
    mistakes: Vec<Mistake>,
    schemes: &'static [Scheme],
    /// For the log only.
    cause: Option<String>,
    review: Option<Value>,
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: String,
    title: &'a str,
    status: u16,
    detail: &'a str,
    #[serde(skip_serializing_if = "<[Mistake]>::is_empty")]
    errors: &'a [Mistake],
    #[serde(skip_serializing_if = "Option::is_none")]
    review: Option<&'a Value>,
}

impl Problem {
    /// `detail` says what to do.
    pub(super) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        let schemes: &[Scheme] = match kind {
            Kind::NotAuthenticated | Kind::InvalidToken | Kind::Forbidden => &[Scheme::Bearer],
            Kind::InvalidClient => &[Scheme::Basic],
            _ => &[],
        };
        let detail = detail.into();
        Self(Box::new(Parts {
            kind,
            detail,
            mistakes: Vec::new(),
            schemes,
            review: None,
            cause: None,
        }))
    }
    pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Kind::InvalidRequest, detail)
    }
    pub(super) fn not_found() -> Self {
        let detail = "check the names in the address; what is another tenant's is not shown";
        Self::new(Kind::NotFound, detail)
    }
    pub(super) fn with(mut self, mistakes: impl IntoIterator<Item = Mistake>) -> Self {
        self.0.mistakes.extend(mistakes);
        self
    }
    /// With everything that was found out about the document.
    pub(super) fn reviewed(mut self, review: Value) -> Self {
        self.0.review = Some(review);
        self
    }
    /// Where the caller may choose how to authenticate.
    pub(super) fn challenging(mut self, schemes: &'static [Scheme]) -> Self {
        self.0.schemes = schemes;
        self
    }
    pub(super) fn because(mut self, cause: &impl ToString) -> Self {
        self.0.cause = Some(cause.to_string());
        self
    }
    /// As a member of an answer that is about more than one thing.
    pub(super) fn as_context(&self) -> (u16, String) {
        let shown = |mistake: &Mistake| {
            format!("{}: {}", mistake.pointer.as_deref().unwrap_or_default(), mistake.message)
        };
        let parts = [self.0.detail.to_string()].into_iter();
        let parts: Vec<String> = parts.chain(self.0.mistakes.iter().map(shown)).collect();
        (self.0.kind.status().as_u16(), parts.join("; "))
    }

    fn challenges(&self) -> Vec<HeaderValue> {
        let challenge = |scheme: &Scheme| match (scheme, self.0.kind) {
            (Scheme::Basic, _) => "Basic realm=\"rolemint\"",
            // RFC 6750 §3.1: who shows no token is told no error code.
            (Scheme::Bearer, Kind::InvalidToken) => {
                "Bearer realm=\"rolemint\", error=\"invalid_token\""
            }
            (Scheme::Bearer, Kind::Forbidden) => {
                "Bearer realm=\"rolemint\", error=\"insufficient_scope\""
            }
            (Scheme::Bearer, _) => "Bearer realm=\"rolemint\"",
        };
        self.0.schemes.iter().map(challenge).map(HeaderValue::from_static).collect()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.0.kind.title(), self.0.detail)
    }
}

impl ResponseError for Problem {
    fn status_code(&self) -> StatusCode {
        self.0.kind.status()
    }

    fn error_response(&self) -> HttpResponse {
        let Parts { kind, detail, mistakes, review, cause, .. } = &*self.0;
        let (status, name) = (kind.status(), kind.name());
        let cause = cause.as_deref().unwrap_or(detail);
        if status.is_server_error() {
            tracing::error!(problem = name, cause, "a request failed");
        } else {
            tracing::info!(problem = name, cause, "a request was refused");
        }
        let mut response = HttpResponse::build(status);
        response
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::CONTENT_TYPE, "application/problem+json"));
        for challenge in self.challenges() {
            response.append_header((header::WWW_AUTHENTICATE, challenge));
        }
        if matches!(status, StatusCode::SERVICE_UNAVAILABLE | StatusCode::TOO_MANY_REQUESTS) {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        response.json(Shown {
            r#type: format!("urn:rolemint:problem:{name}"),
            title: kind.title(),
            status: status.as_u16(),
            detail,
            errors: mistakes,
            review: review.as_ref(),
        })
    }
}

impl From<Unavailable> for Problem {
    fn from(cause: Unavailable) -> Self {
        Self::new(Kind::Unavailable, "nothing was done; the same request may succeed in a moment")
            .because(&Report(&cause))
    }
}

impl From<NotAuthenticated> for Problem {
    fn from(error: NotAuthenticated) -> Self {
        match error {
            NotAuthenticated::Failed => Self::new(
                Kind::InvalidClient,
                "send the client's id and secret in the Authorization header (Basic)",
            ),
            NotAuthenticated::Unavailable(cause) => cause.into(),
        }
    }
}

impl From<NotResourceServer> for Problem {
    fn from(error: NotResourceServer) -> Self {
        match error {
            NotResourceServer::NotAuthenticated(error) => error.into(),
            NotResourceServer::IntrospectsNothing => {
                // Another token would not help.
                Self::new(Kind::Forbidden, "declare the audiences that the client introspects")
                    .challenging(&[])
            }
        }
    }
}

impl From<NotATarget> for Problem {
    fn from(error: NotATarget) -> Self {
        let place = match error {
            NotATarget::Kind => "/target",
            NotATarget::Value(_) | NotATarget::Moment => "/value",
        };
        Self::invalid("say what is to be revoked").with([Mistake::at(place, error.to_string())])
    }
}

impl From<NotOrdered> for Problem {
    fn from(error: NotOrdered) -> Self {
        match error {
            NotOrdered::Reason => {
                Self::invalid("say why").with([Mistake::at("/reason", error.to_string())])
            }
            NotOrdered::NoSession => Self::not_found(),
            NotOrdered::Unavailable(cause) => cause.into(),
        }
    }
}

impl From<NotAdministrator> for Problem {
    fn from(error: NotAdministrator) -> Self {
        match error {
            NotAdministrator::InvalidToken => Self::new(
                Kind::InvalidToken,
                "get a new access token whose only audience is this server",
            ),
            NotAdministrator::Unavailable(cause) => cause.into(),
        }
    }
}

impl From<NotPermitted> for Problem {
    fn from(error: NotPermitted) -> Self {
        match error {
            NotPermitted::Forbidden => Self::new(
                Kind::Forbidden,
                "it takes a permission of the type `rolemint` for this area, tenant and action",
            ),
            NotPermitted::NotFound => Self::not_found(),
        }
    }
}
