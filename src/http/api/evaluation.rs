//! `/v1/evaluation` and `/v1/evaluations`: may this token do this, and why. The shapes are those of
//! the OpenID `AuthZEN` Authorization API 1.0 (§5 to §7), with the reason in `context`.

use crate::domain::evaluation::Lack;
use crate::http::api::json::read_json;
use crate::http::api::problem::{Kind, Mistake, Problem, Scheme};
use crate::http::bearer::bearer;
use crate::http::body::Body;
use crate::http::oauth::caller::basic;
use crate::service::Service;
use crate::service::authenticate::Credentials;
use crate::service::evaluation::{self, Decision, Evaluator, Examined, LedBack, NotEvaluated};
use actix_web::http::header::{self, HeaderName, HeaderValue};
use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use serde::Deserialize;
use serde_json::{Map, Value, json};

/// So many questions may stand in one request.
const MAX_QUESTIONS: usize = 64;
/// `AuthZEN` §10.1.3: what a caller sent to find its request again.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const MAX_REQUEST_ID: usize = 128;

/// The only kind of subject: one of our access tokens.
const SUBJECT_TYPE: &str = "token";

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Subject {
    r#type: String,
    id: String,
    #[serde(default, rename = "properties")]
    _properties: Map<String, Value>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Action {
    name: String,
    #[serde(default, rename = "properties")]
    _properties: Map<String, Value>,
}

#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Resource {
    r#type: String,
    id: String,
    #[serde(default)]
    properties: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    subject: Option<Subject>,
    action: Option<Action>,
    resource: Option<Resource>,
    #[serde(default, rename = "context")]
    _context: Map<String, Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AskedTogether {
    subject: Option<Subject>,
    action: Option<Action>,
    resource: Option<Resource>,
    #[serde(default, rename = "context")]
    _context: Map<String, Value>,
    #[serde(default)]
    evaluations: Vec<Asked>,
    #[serde(default)]
    options: Options,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Options {
    #[serde(default)]
    evaluations_semantic: Semantic,
}

#[derive(Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Semantic {
    #[default]
    ExecuteAll,
    DenyOnFirstDeny,
    PermitOnFirstPermit,
}

impl Semantic {
    fn stops_at(self, decision: bool) -> bool {
        match self {
            Self::ExecuteAll => false,
            Self::DenyOnFirstDeny => !decision,
            Self::PermitOnFirstPermit => decision,
        }
    }
}

/// What is asked, with where each part of it stands in the request.
struct Whole<'a> {
    at: &'a str,
    subject: &'a Subject,
    action: &'a Action,
    resource: &'a Resource,
}

struct Answered {
    decision: bool,
    context: Value,
}

impl Answered {
    fn json(&self) -> Value {
        json!({ "decision": self.decision, "context": self.context })
    }
}

/// The tokens of one request, each examined once.
struct Desk<'a> {
    service: &'a Service,
    evaluator: Evaluator,
    examined: Vec<(String, Option<Examined>)>,
}

pub(in crate::http) async fn evaluate(
    request: HttpRequest,
    body: Body,
    service: Data<Service>,
) -> HttpResponse {
    let answer = async {
        let evaluator = authenticate(&service, &request).await?;
        let asked: Asked = read_json(&request, body)?;
        let mut desk = Desk { service: &service, evaluator, examined: Vec::new() };
        let whole = complete("", &asked, None)?;
        Ok(desk.answer(&whole).await?.json())
    };
    respond(&request, answer.await)
}

pub(in crate::http) async fn evaluate_several(
    request: HttpRequest,
    body: Body,
    service: Data<Service>,
) -> HttpResponse {
    let answer = async {
        let evaluator = authenticate(&service, &request).await?;
        let asked: AskedTogether = read_json(&request, body)?;
        let AskedTogether { subject, action, resource, evaluations, options, .. } = asked;
        let defaults = Asked { subject, action, resource, _context: Map::new() };
        let mut desk = Desk { service: &service, evaluator, examined: Vec::new() };
        if evaluations.is_empty() {
            // §7.1: then it is a single one.
            return Ok(desk.answer(&complete("", &defaults, None)?).await?.json());
        }
        if evaluations.len() > MAX_QUESTIONS {
            let message = format!("holds more than {MAX_QUESTIONS} questions");
            return Err(
                Problem::invalid("ask fewer at once").with([Mistake::at("/evaluations", message)])
            );
        }
        let mut answers = Vec::with_capacity(evaluations.len());
        for (index, asked) in evaluations.iter().enumerate() {
            let at = format!("/evaluations/{index}");
            let answered = match complete(&at, asked, Some(&defaults)) {
                Ok(whole) => desk.answer(&whole).await,
                Err(problem) => Err(problem),
            };
            let answered = answered.or_else(unanswered)?;
            answers.push(answered.json());
            if options.evaluations_semantic.stops_at(answered.decision) {
                break;
            }
        }
        Ok(json!({ "evaluations": answers }))
    };
    respond(&request, answer.await)
}

/// §7.2.1: one question that cannot be answered is a refusal in its place, and the others are
/// answered; but what we cannot do now is not an answer.
fn unanswered(problem: Problem) -> Result<Answered, Problem> {
    let (status, message) = problem.as_context();
    if status >= 500 {
        return Err(problem);
    }
    let context = json!({ "error": { "status": status, "message": message } });
    Ok(Answered { decision: false, context })
}

fn respond(request: &HttpRequest, answer: Result<Value, Problem>) -> HttpResponse {
    use actix_web::ResponseError as _;
    let mut response = match answer {
        Ok(answer) => {
            HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(answer)
        }
        Err(problem) => problem.error_response(),
    };
    let id = request.headers().get(REQUEST_ID).filter(|id| is_plain(id));
    if let Some(id) = id {
        response.headers_mut().insert(REQUEST_ID, id.clone());
    }
    response
}

fn is_plain(id: &HeaderValue) -> bool {
    id.len() <= MAX_REQUEST_ID && id.as_bytes().iter().all(u8::is_ascii_graphic)
}

/// A confidential client, or the very token that is asked about.
async fn authenticate(service: &Service, request: &HttpRequest) -> Result<Evaluator, Problem> {
    let either: &[Scheme] = &[Scheme::Basic, Scheme::Bearer];
    if let Some(token) = bearer(request) {
        return Ok(service.evaluating_holder(token).await?);
    }
    let nobody = || {
        let detail = "send a client's id and secret (Basic), or the token itself (Bearer)";
        Problem::new(Kind::NotAuthenticated, detail).challenging(either)
    };
    let (id, secret) = basic(request).map_err(|_| nobody())?.ok_or_else(nobody)?;
    let client = service.authenticate_client(&Credentials { id, secret: Some(secret) }).await?;
    Ok(Evaluator::Client(client))
}

fn complete<'a>(
    at: &'a str,
    asked: &'a Asked,
    defaults: Option<&'a Asked>,
) -> Result<Whole<'a>, Problem> {
    let missing = |name: &str| {
        let mistake = Mistake::at(format!("{at}/{name}"), "is missing");
        Problem::invalid("a question has `subject`, `action` and `resource`").with([mistake])
    };
    let subject = asked.subject.as_ref().or(defaults.and_then(|all| all.subject.as_ref()));
    let action = asked.action.as_ref().or(defaults.and_then(|all| all.action.as_ref()));
    let resource = asked.resource.as_ref().or(defaults.and_then(|all| all.resource.as_ref()));
    Ok(Whole {
        at,
        subject: subject.ok_or_else(|| missing("subject"))?,
        action: action.ok_or_else(|| missing("action"))?,
        resource: resource.ok_or_else(|| missing("resource"))?,
    })
}

impl Desk<'_> {
    async fn answer(&mut self, whole: &Whole<'_>) -> Result<Answered, Problem> {
        let Whole { at, subject, action, resource } = *whole;
        let mistake = |name: &str, message: String| {
            let mistake = Mistake::at(format!("{at}{name}"), message);
            Problem::invalid("the question is about nothing that can be decided").with([mistake])
        };
        if subject.r#type != SUBJECT_TYPE {
            return Err(mistake("/subject/type", format!("must be `{SUBJECT_TYPE}`")));
        }
        let mut selectors = Vec::with_capacity(resource.properties.len());
        for (key, value) in &resource.properties {
            let text = value.as_str().ok_or_else(|| {
                mistake(&format!("/resource/properties/{key}"), "must be a string".to_owned())
            })?;
            selectors.push((key.as_str(), text));
        }
        let question = evaluation::Asked {
            action: &action.name,
            resource_type: &resource.r#type,
            id: &resource.id,
            selectors: &selectors,
        };
        let Some(examined) = self.examine(&subject.id).await? else {
            let message = "the token is not active, or not one that this caller may ask about";
            let reason = json!({ "code": "token_not_active", "message": message });
            return Ok(Answered { decision: false, context: json!({ "reason": reason }) });
        };
        match examined.decide(&question) {
            Ok(decision) => Ok(shown(examined, &decision)),
            Err(wrong) => Err(mistake(&wrong.pointer, wrong.message)),
        }
    }

    async fn examine(&mut self, token: &str) -> Result<Option<&Examined>, NotEvaluated> {
        let known = self.examined.iter().position(|(known, _)| known == token);
        let index = if let Some(index) = known {
            index
        } else {
            let examined = self.service.examine(&self.evaluator, token).await?;
            self.examined.push((token.to_owned(), examined));
            self.examined.len() - 1
        };
        Ok(self.examined.get(index).and_then(|(_, examined)| examined.as_ref()))
    }
}

fn shown(examined: &Examined, decision: &Decision) -> Answered {
    let code = if decision.is_allowed() { "permitted" } else { "not_permitted" };
    let of_decision = match decision {
        Decision::Allowed { by } => ("permission", json!(by)),
        Decision::Refused { nearest: None, .. } => ("nearest", Value::Null),
        Decision::Refused { nearest: Some(nearest), lacks } => {
            let lacks: Vec<Value> = lacks.iter().map(lack).collect();
            let LedBack { permission, from } = nearest;
            ("nearest", json!({ "permission": permission, "from": from, "lacks": lacks }))
        }
    };
    let mut reason = Map::new();
    reason.insert("code".to_owned(), code.into());
    reason.insert("message".to_owned(), decision.to_string().into());
    reason.insert("tenant".to_owned(), json!(examined.tenant()));
    reason.insert("roles".to_owned(), json!(examined.roles()));
    reason.insert("tpl".to_owned(), json!(examined.templates()));
    reason.insert(of_decision.0.to_owned(), of_decision.1);
    Answered { decision: decision.is_allowed(), context: json!({ "reason": reason }) }
}

/// With the sentence for people beside the parts.
fn lack(lack: &Lack) -> Value {
    let mut shown = json!(lack);
    if let Value::Object(shown) = &mut shown {
        shown.insert("message".to_owned(), lack.to_string().into());
    }
    shown
}

impl From<NotEvaluated> for Problem {
    fn from(error: NotEvaluated) -> Self {
        match error {
            NotEvaluated::InvalidToken => {
                Self::new(Kind::InvalidToken, "get a new access token and ask again")
            }
            NotEvaluated::AnotherToken => Self::new(
                Kind::Forbidden,
                "a token may ask about itself only; a client that introspects may ask about others",
            ),
            NotEvaluated::Unavailable(cause) => cause.into(),
        }
    }
}
