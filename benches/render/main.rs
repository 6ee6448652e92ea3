//! What it takes to render a compiled template and to check the boundary, as for every token.
//!
//!     cargo bench --no-default-features --bench render
//!
//! Beside it, in the same rounds, the naive way for the seed: the whole document rendered as plain text by
//! Handlebars, parsed as JSON, and validated. It checks no boundary.

use handlebars::Handlebars;
use rolemint::domain::permission::{PermissionSet, Vocabulary};
use rolemint::domain::template::boundary;
use rolemint::domain::template::{RenderInput, RoleTemplate, User};
use rolemint::domain::tenant::Tenant;
use serde::Serialize;
use serde_json::{Map, Value, json};
use std::error::Error;
use std::hint::black_box;
use std::io::Write as _;
use std::time::{Duration, Instant};

const SEED: &str = include_str!("../../templates/roles/data-entry.json");
const VOCABULARY: &str = include_str!("../../templates/resources.toml");

const ROUNDS: u32 = 101;
const ROUND: Duration = Duration::from_millis(8);

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Something to measure. Each is given its turn in every round.
struct Case<'a> {
    name: &'static str,
    target: Option<f64>,
    run: Box<dyn FnMut() -> Outcome<()> + 'a>,
    /// How often it runs in a round.
    times: u32,
    /// Nanoseconds of one run, for each round.
    took: Vec<f64>,
}

impl<'a> Case<'a> {
    fn new(
        name: &'static str,
        target: Option<f64>,
        run: impl FnMut() -> Outcome<()> + 'a,
    ) -> Outcome<Self> {
        let mut case = Self { name, target, run: Box::new(run), times: 1, took: Vec::new() };
        loop {
            let begun = Instant::now();
            case.repeat()?;
            if begun.elapsed() >= ROUND {
                return Ok(case);
            }
            case.times *= 2;
        }
    }

    fn repeat(&mut self) -> Outcome<()> {
        for _ in 0..self.times {
            (self.run)()?;
        }
        Ok(())
    }

    fn round(&mut self) -> Outcome<()> {
        let begun = Instant::now();
        self.repeat()?;
        self.took.push(begun.elapsed().as_secs_f64() * 1e9 / f64::from(self.times));
        Ok(())
    }

    /// The least, the middle and the most.
    fn spread(&self) -> Outcome<[f64; 3]> {
        let mut took = self.took.clone();
        took.sort_by(f64::total_cmp);
        match (took.first(), took.get(took.len() / 2), took.last()) {
            (Some(least), Some(middle), Some(most)) => Ok([*least, *middle, *most]),
            _ => Err("no round was run".into()),
        }
    }
}

/// One hundred permissions of three kinds: exact and prefix, one value and two, with a condition on some.
fn hundred() -> String {
    let permissions: Vec<Value> = (0..100)
        .map(|n| match n % 4 {
            0 => json!({"role": "readonly", "cache": format!("events-{n}"), "item": {"keyPrefix": "{{tenant.id}}:"}}),
            1 => json!({"role": "readwrite", "cache": "reports", "item": {"keyPrefix": format!("{{{{tenant.id}}}}:{n}:{{{{user.id}}}}:")}}),
            2 => json!({"role": "publishsubscribe", "cache": "collaboration", "topic": format!("{{{{tenant.id}}}}-{n}-events")}),
            _ => json!({"$if": "in 'editors' user.groups", "role": "readwrite", "cache": "reports",
                        "item": format!("{{{{tenant.id}}}}:{n}:{{{{user.claims.region}}}}")}),
        })
        .collect();
    json!({"permissions": permissions}).to_string()
}

/// One permission for each element of a list: all of one cache, so that each has to be held against each other.
fn list() -> String {
    json!({"permissions": [{"$each": "user.claims.projects", "$as": "project",
        "role": "readonly", "cache": "reports", "item": {"keyPrefix": "{{tenant.id}}:{{project}}:"}}]})
    .to_string()
}

#[derive(Serialize)]
struct NaiveInput<'a> {
    tenant: NaiveTenant<'a>,
}
#[derive(Serialize)]
struct NaiveTenant<'a> {
    id: &'a str,
}

fn naive(handlebars: &Handlebars<'_>, tenant: &Tenant, v: &Vocabulary) -> Outcome<PermissionSet> {
    let input = NaiveInput { tenant: NaiveTenant { id: tenant.id.as_str() } };
    let text = handlebars.render("seed", &input)?;
    let document: Value = serde_json::from_str(&text)?;
    Ok(PermissionSet::parse(document.get("permissions").ok_or("no permissions")?, v)?)
}

fn main() -> Outcome<()> {
    let v: Vocabulary = toml::from_str(VOCABULARY)?;
    let tenant: Tenant =
        serde_json::from_value(json!({"id": "acme", "name": "Acme", "attributes": {}}))?;
    let projects: Vec<String> = (0..100).map(|n| format!("project-{n}")).collect();
    let claims = Map::from_iter([
        ("groups".to_owned(), json!(["staff", "editors"])),
        ("region".to_owned(), json!("eu")),
        ("projects".to_owned(), json!(projects)),
    ]);
    let (user, client) = ("u_dana".parse()?, "demo-web".parse()?);
    let user = Some(User { id: &user, claims: &claims });
    let input = RenderInput { tenant: &tenant, user, client: &client };
    let checked = |source: &str, permissions: usize| -> Outcome<_> {
        let template = RoleTemplate::compile(source, &v, false)?;
        let found = template.render(&input, &v)?.permissions.len();
        if found != permissions {
            return Err(format!("{found} permissions where there must be {permissions}").into());
        }
        let (input, tenant, v) = (&input, &tenant, &v);
        Ok(move || {
            let rendered = template.render(black_box(input), v)?;
            boundary::check(&rendered.permissions, &tenant.id, v)?;
            black_box(rendered);
            Ok(())
        })
    };
    let mut handlebars = Handlebars::new();
    handlebars.register_escape_fn(handlebars::no_escape);
    handlebars.set_strict_mode(true);
    handlebars.register_template_string("seed", SEED)?;
    if naive(&handlebars, &tenant, &v)?
        != RoleTemplate::compile(SEED, &v, false)?.render(&input, &v)?.permissions
    {
        return Err("the two ways differ".into());
    }

    let mut cases = [
        Case::new("seed", Some(3_000.0), checked(SEED, 2)?)?,
        Case::new("seed, as text", None, || {
            black_box(naive(&handlebars, black_box(&tenant), &v)?);
            Ok(())
        })?,
        Case::new("100 permissions", Some(100_000.0), checked(&hundred(), 100)?)?,
        Case::new("a list of 100", Some(100_000.0), checked(&list(), 100)?)?,
    ];
    for _ in 0..ROUNDS {
        for case in &mut cases {
            case.round()?;
        }
    }

    let mut out = std::io::stdout().lock();
    writeln!(out, "| case | µs, median (least–most) | target, µs |\n| --- | --- | --- |")?;
    for case in &cases {
        let [least, middle, most] = case.spread()?.map(|nanoseconds| nanoseconds / 1e3);
        let target = case.target.map_or_else(|| "–".to_owned(), |t| format!("{}", t / 1e3));
        writeln!(out, "| {} | {middle:.2} ({least:.2}–{most:.2}) | {target} |", case.name)?;
    }
    let [seed, text, ..] = &cases;
    let [mut ratios, _] = [seed, text].map(|case| case.took.clone());
    for (ratio, text) in ratios.iter_mut().zip(&text.took) {
        *ratio /= text;
    }
    ratios.sort_by(f64::total_cmp);
    let ratio = ratios.get(ratios.len() / 2).copied().unwrap_or(f64::NAN);
    writeln!(
        out,
        "\nThe seed takes {ratio:.2} of what it takes as text (median of {ROUNDS} rounds)."
    )?;
    let cores = std::thread::available_parallelism()?;
    writeln!(out, "Cores: {cores}.")?;
    Ok(())
}
