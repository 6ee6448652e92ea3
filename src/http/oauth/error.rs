//! What a client is told: a code of the standards and fixed text. Causes are logged here, once.

use crate::domain::authorization::{ErrorCode, ProtocolError};
use crate::domain::grant::Denied;
use crate::service::authenticate::NotAuthenticated;
use crate::service::backchannel_logout::NotLoggedOut;
use crate::service::code::NotRedeemed;
use crate::service::exchange::NotExchanged;
use crate::service::introspection::NotIntrospected;
use crate::service::issue::NotIssued;
use crate::service::refresh::NotRefreshed;
use crate::service::revocation::NotRevoked;
use crate::service::{Report, Unavailable};
use actix_web::http::{StatusCode, header};
use actix_web::{HttpResponse, ResponseError};
use serde_json::json;
use std::fmt;

#[derive(Debug)]
pub(in crate::http) struct OAuthError {
    error: ProtocolError,
    status: Option<StatusCode>,
    /// For the log only. Expected refusals are logged at a lower level than our own failures.
    cause: Option<String>,
}

impl OAuthError {
    pub(super) const fn new(code: ErrorCode, description: &'static str) -> Self {
        Self { error: ProtocolError::new(code, description), status: None, cause: None }
    }
    pub(in crate::http) const fn bad_request(description: &'static str) -> Self {
        Self::new(ErrorCode::InvalidRequest, description)
    }
    pub(super) const fn with_status(mut self, status: StatusCode) -> Self {
        self.status = Some(status);
        self
    }
    fn because(mut self, cause: &impl ToString) -> Self {
        self.cause = Some(cause.to_string());
        self
    }
}

impl fmt::Display for OAuthError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl ResponseError for OAuthError {
    fn status_code(&self) -> StatusCode {
        self.status.unwrap_or(match self.error.code {
            ErrorCode::InvalidClient => StatusCode::UNAUTHORIZED,
            ErrorCode::ServerError => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorCode::TemporarilyUnavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::BAD_REQUEST,
        })
    }

    fn error_response(&self) -> HttpResponse {
        let ProtocolError { code, description } = self.error;
        let status = self.status_code();
        let cause = self.cause.as_deref().unwrap_or(description);
        if status.is_server_error() {
            tracing::error!(error = code.as_str(), cause, "a request failed");
        } else {
            tracing::info!(error = code.as_str(), cause, "a request was refused");
        }
        let mut response = HttpResponse::build(status);
        response
            .insert_header((header::CACHE_CONTROL, "no-store"))
            .insert_header((header::PRAGMA, "no-cache"));
        if status == StatusCode::UNAUTHORIZED {
            // RFC 6749 §5.2
            response.insert_header((header::WWW_AUTHENTICATE, "Basic realm=\"rolemint\""));
        }
        if status == StatusCode::SERVICE_UNAVAILABLE {
            response.insert_header((header::RETRY_AFTER, "1"));
        }
        response.json(json!({ "error": code.as_str(), "error_description": description }))
    }
}

impl From<ProtocolError> for OAuthError {
    fn from(error: ProtocolError) -> Self {
        Self { error, status: None, cause: None }
    }
}

impl From<Unavailable> for OAuthError {
    fn from(cause: Unavailable) -> Self {
        Self::new(ErrorCode::TemporarilyUnavailable, "try again later").because(&Report(&cause))
    }
}

impl From<NotAuthenticated> for OAuthError {
    fn from(error: NotAuthenticated) -> Self {
        match error {
            NotAuthenticated::Failed => {
                Self::new(ErrorCode::InvalidClient, "client authentication failed")
            }
            NotAuthenticated::Unavailable(cause) => cause.into(),
        }
    }
}

const GRANT_NOT_ALLOWED: OAuthError =
    OAuthError::new(ErrorCode::UnauthorizedClient, "the client may not use this grant");

/// A refusal of the decision, where the token endpoint is asked.
fn denied(denied: &Denied) -> OAuthError {
    let error = match denied {
        Denied::ScopeTooWide => {
            OAuthError::new(ErrorCode::InvalidScope, "scope asks for more than there is to have")
        }
        Denied::Details(_) => OAuthError::new(
            ErrorCode::InvalidAuthorizationDetails,
            "authorization_details hold something that is not a permission",
        ),
        Denied::DetailsTooWide => OAuthError::new(
            ErrorCode::InvalidAuthorizationDetails,
            "authorization_details ask for more than there is to have",
        ),
        Denied::TenantSuspended(_)
        | Denied::ClientSuspended
        | Denied::ProviderNotAllowed
        | Denied::NoRole
        | Denied::CrossesTenants(..)
        | Denied::Nothing => OAuthError::new(
            ErrorCode::InvalidGrant,
            "there is nothing that this person may be granted here",
        ),
        Denied::Render(..)
        | Denied::Ceiling(_)
        | Denied::OutsideTenant(..)
        | Denied::ClaimConflict(_) => OAuthError::new(
            ErrorCode::ServerError,
            "the role's template cannot be used for this person",
        ),
    };
    error.because(denied)
}

impl From<NotIssued> for OAuthError {
    fn from(error: NotIssued) -> Self {
        match error {
            NotIssued::Denied(reason) => denied(&reason),
            NotIssued::ProviderGone(_) | NotIssued::TenantGone(_) | NotIssued::NoTemplate(_) => {
                denied(&Denied::Nothing).because(&error)
            }
            NotIssued::Unavailable(cause) => cause.into(),
        }
    }
}

impl From<NotRedeemed> for OAuthError {
    fn from(error: NotRedeemed) -> Self {
        match error {
            NotRedeemed::GrantNotAllowed => GRANT_NOT_ALLOWED,
            NotRedeemed::Invalid(_) => {
                Self::new(ErrorCode::InvalidGrant, "the code cannot be redeemed").because(&error)
            }
            NotRedeemed::NotIssued(error) => error.into(),
        }
    }
}

impl From<NotRefreshed> for OAuthError {
    fn from(error: NotRefreshed) -> Self {
        match error {
            NotRefreshed::GrantNotAllowed => GRANT_NOT_ALLOWED,
            NotRefreshed::Invalid(_) => {
                Self::new(ErrorCode::InvalidGrant, "the refresh token is not good").because(&error)
            }
            NotRefreshed::Audience => {
                Self::new(ErrorCode::InvalidTarget, "the session does not have that audience")
            }
            NotRefreshed::NotIssued(error) => error.into(),
        }
    }
}

impl From<NotExchanged> for OAuthError {
    fn from(error: NotExchanged) -> Self {
        match error {
            NotExchanged::GrantNotAllowed => GRANT_NOT_ALLOWED,
            NotExchanged::SubjectToken(_) => {
                Self::new(ErrorCode::InvalidRequest, "the subject_token is not good")
                    .because(&error)
            }
            NotExchanged::Audience => {
                Self::new(ErrorCode::InvalidTarget, "that audience may not be asked for")
            }
            NotExchanged::NotIssued(error) => error.into(),
        }
    }
}

impl From<NotIntrospected> for OAuthError {
    fn from(error: NotIntrospected) -> Self {
        match error {
            NotIntrospected::PublicClient => {
                Self::new(ErrorCode::InvalidClient, "a public client may not introspect")
            }
            NotIntrospected::Unavailable(cause) => cause.into(),
        }
    }
}

impl From<NotRevoked> for OAuthError {
    fn from(error: NotRevoked) -> Self {
        match error {
            NotRevoked::AnotherClients => {
                Self::new(ErrorCode::UnauthorizedClient, "the token was issued to another client")
            }
            NotRevoked::Unavailable(cause) => cause.into(),
        }
    }
}

impl From<NotLoggedOut> for OAuthError {
    fn from(error: NotLoggedOut) -> Self {
        match error {
            NotLoggedOut::NoSuchProvider => {
                Self::bad_request("no provider of this name tells of logouts here")
                    .with_status(StatusCode::NOT_FOUND)
            }
            NotLoggedOut::Refused(_) | NotLoggedOut::Replayed => {
                Self::bad_request("the logout_token is not good").because(&error)
            }
            NotLoggedOut::Unavailable(cause) => cause.into(),
        }
    }
}
