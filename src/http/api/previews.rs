//! What somebody would get with a template that is not published yet.

use crate::domain::administration::Act;
use crate::domain::ids::{ClientId, ProviderId, SubjectId, TenantId};
use crate::http::api::admin::Admin;
use crate::http::api::answer;
use crate::http::api::candidate::Named;
use crate::http::api::json::read_json;
use crate::http::api::problem::{Mistake, Problem};
use crate::http::api::template_problem::not_previewed;
use crate::http::body::Body;
use crate::service::preview::{Person, PreviewRequest};
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ToPreview {
    document: Option<Box<RawValue>>,
    draft: Option<u64>,
    version: Option<u64>,
    person: Whom,
    client: Option<ClientId>,
}

/// Somebody who has signed in, or somebody typed in.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Whom {
    /// The `sub` of their tokens.
    subject: Option<SubjectId>,
    tenant: Option<TenantId>,
    provider: Option<ProviderId>,
    claims: Option<Map<String, Value>>,
    /// What stands for the provider's own `sub`.
    upstream_subject: Option<String>,
}

/// Stands for the provider's `sub` of somebody who is typed in.
const NOBODY: &str = "preview";

impl Whom {
    fn person(self) -> Result<Person, Problem> {
        match self {
            Self {
                subject: Some(subject),
                tenant: None,
                provider: None,
                claims: None,
                upstream_subject: None,
            } => Ok(Person::Known(subject)),
            Self {
                subject: None,
                tenant: Some(tenant),
                provider: Some(provider),
                claims: Some(claims),
                upstream_subject,
            } => Ok(Person::TypedIn {
                tenant,
                provider,
                subject: upstream_subject.unwrap_or_else(|| NOBODY.to_owned()),
                claims,
            }),
            _ => {
                let message = "has to hold `subject` alone, or `tenant`, `provider` and `claims`";
                Err(Problem::invalid("say whom it is for").with([Mistake::at("/person", message)]))
            }
        }
    }
}

/// It shows what is known of a person, and so it takes the permission to change.
pub(in crate::http) async fn preview(
    admin: Admin,
    request: HttpRequest,
    body: Body,
) -> Result<HttpResponse, Problem> {
    let name = admin.template(Act::Manage)?;
    let ToPreview { document, draft, version, person, client } = read_json(&request, body)?;
    let person = person.person()?;
    let source = admin.source(&name, Named { document, draft, version }.content()?).await?;
    let wanted = PreviewRequest { name: &name, source: &source, person, client };
    let preview = admin.service.preview(&admin.administrator, &wanted).await;
    Ok(answer::shown(preview.map_err(|not| not_previewed(not, &source))?))
}
