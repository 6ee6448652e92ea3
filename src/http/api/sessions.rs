//! Sessions: which ones live, and why one ended.

use crate::domain::Time;
use crate::domain::administration::{Act, Area, Reach};
use crate::domain::explanation::{Ending, Explanation};
use crate::domain::ids::{ClientId, ProviderId, SessionId, SubjectId, TenantId};
use crate::domain::revocation::RevocationTarget;
use crate::domain::session::RegisteredSession;
use crate::http::api::admin::Admin;
use crate::http::api::answer;
use crate::http::api::json::read_json;
use crate::http::api::page::{Page, parameter, query};
use crate::http::api::problem::Problem;
use crate::http::api::revocations::RevocationView;
use crate::http::body::Body;
use crate::service::revocations::Order;
use crate::service::sessions::{ExplainedSession, Place, Whose};
use actix_web::{HttpRequest, HttpResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A place in the list of live sessions, as the address has it: milliseconds and a session.
struct Cursor(Place);

impl FromStr for Cursor {
    type Err = ();
    fn from_str(text: &str) -> Result<Self, ()> {
        let (millis, session) = text.split_once('.').ok_or(())?;
        let ends_at = millis.parse().ok().and_then(Time::from_timestamp_millis).ok_or(())?;
        Ok(Self(Place { ends_at, session: session.parse().map_err(|_| ())? }))
    }
}

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0.ends_at.timestamp_millis(), self.0.session)
    }
}

/// What the register says of a session.
#[derive(Serialize)]
struct RegisteredView<'a> {
    session_id: SessionId,
    tenant: &'a TenantId,
    subject: &'a SubjectId,
    client_id: &'a ClientId,
    provider: &'a ProviderId,
    begun_at: Time,
    /// At the latest.
    ends_at: Time,
}

impl<'a> From<&'a RegisteredSession> for RegisteredView<'a> {
    fn from(session: &'a RegisteredSession) -> Self {
        Self {
            session_id: session.id,
            tenant: &session.tenant,
            subject: &session.subject,
            client_id: &session.client,
            provider: &session.provider,
            begun_at: session.begun_at,
            ends_at: session.ends_at,
        }
    }
}

#[derive(Serialize)]
struct EndingView<'a> {
    /// Stable; programs compare it.
    kind: &'static str,
    /// For people.
    text: String,
    at: Option<Time>,
    /// Where whoever ended it called from.
    #[serde(skip_serializing_if = "Option::is_none")]
    address: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    revocation: Option<RevocationView<'a>>,
}

impl<'a> From<&'a Ending> for EndingView<'a> {
    fn from(ending: &'a Ending) -> Self {
        let (address, revocation) = match ending {
            Ending::Recorded(end) => (end.address, None),
            Ending::Revoked(revocation) => (None, Some(revocation.into())),
            Ending::Forgotten | Ending::Lapsed | Ending::Outlived { .. } => (None, None),
        };
        let (kind, text, at) = (ending.kind(), ending.to_string(), ending.at());
        Self { kind, text, at, address, revocation }
    }
}

fn shown(session: &ExplainedSession) -> Value {
    let mut shown = match &session.registered {
        Some(registered) => json!(RegisteredView::from(registered)),
        None => json!({ "session_id": session.id, "tenant": session.tenant }),
    };
    let more = match &session.explanation {
        Explanation::Active { idle_ends_at, ends_at } => {
            json!({ "state": "active", "idle_ends_at": idle_ends_at, "ends_at": ends_at })
        }
        Explanation::NotBegun { until } => json!({ "state": "not_begun", "code_until": until }),
        Explanation::NotEnded => json!({ "state": "not_ended" }),
        Explanation::Ended(ending) => {
            json!({ "state": "ended", "ended": EndingView::from(ending) })
        }
    };
    if let (Value::Object(shown), Value::Object(more)) = (&mut shown, more) {
        shown.extend(more);
    }
    shown
}

/// The session that the address names, for whoever may do this in its tenant.
async fn session(admin: &Admin, act: Act) -> Result<ExplainedSession, Problem> {
    // Nobody is told of sessions who may see none.
    admin.scope(Area::Sessions, act, None)?;
    let found = admin.service.explain_session(admin.named("session")?).await?;
    let found = found.ok_or_else(Problem::not_found)?;
    // SECURITY: another tenant's is not there.
    admin.permit_in(Area::Sessions, act, Reach::Tenant(&found.tenant))?;
    Ok(found)
}

pub(in crate::http) async fn show_session(admin: Admin) -> Result<HttpResponse, Problem> {
    Ok(answer::shown(shown(&session(&admin, Act::View).await?)))
}

pub(in crate::http) async fn list_sessions(
    admin: Admin,
    request: HttpRequest,
) -> Result<HttpResponse, Problem> {
    admin.scope(Area::Sessions, Act::View, None)?;
    let page: Page<Cursor> = Page::of(&request, "cursor", "the `next` of the page before")?;
    let parameters = query(&request)?;
    let tenant = parameter(&parameters, "tenant", "a tenant's id")?;
    let tenant = admin.scope(Area::Sessions, Act::View, tenant)?;
    let whose = Whose { tenant, subject: parameter(&parameters, "subject", "a subject's id")? };
    if whose.tenant.is_none() && whose.subject.is_none() {
        return Err(Problem::invalid("give the parameter `tenant` or `subject`"));
    }
    let found = admin.service.list_sessions(&whose, page.from.map(|cursor| cursor.0), page.limit);
    let found = found.await?;
    let sessions = found.sessions.iter().map(|live| {
        let mut shown = json!(RegisteredView::from(&live.registered));
        if let Value::Object(shown) = &mut shown {
            shown.insert("idle_ends_at".to_owned(), json!(live.idle_ends_at));
        }
        shown
    });
    let sessions: Vec<Value> = sessions.collect();
    let next = found.next.map(|place| Cursor(place).to_string());
    Ok(answer::shown(json!({ "sessions": sessions, "next": next })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Why {
    reason: String,
}

/// One that is over already is as good as revoked.
pub(in crate::http) async fn revoke_session(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let found = session(&admin, Act::Manage).await?;
    let Why { reason } = read_json(&request, body)?;
    if let Explanation::Ended(Ending::Recorded(_) | Ending::Revoked(_)) = &found.explanation {
        return Ok(answer::shown(json!({ "position": null, "session_id": found.id })));
    }
    let order = Order {
        target: RevocationTarget::Session(found.id),
        tenant: Some(found.tenant),
        author: admin.author(reason),
    };
    let position = admin.service.revoke(&order).await?;
    Ok(answer::recorded(json!({ "position": position, "session_id": found.id })))
}
