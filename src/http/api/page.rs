//! A part of a long list: `limit` and where it begins, in the query of the address.

use crate::http::api::problem::Problem;
use crate::http::parameters::Parameters;
use actix_web::HttpRequest;
use std::str::FromStr;

const DEFAULT: u32 = 20;
const MOST: u32 = 100;

pub(super) struct Page<T> {
    /// None: from the beginning.
    pub(super) from: Option<T>,
    pub(super) limit: u32,
}

/// The parameters of an address, each once.
pub(super) fn query(request: &HttpRequest) -> Result<Parameters, Problem> {
    let malformed = |_| Problem::invalid("the query of the address is malformed");
    let parameters = Parameters::parse(request.query_string().as_bytes()).map_err(malformed)?;
    if let Some(twice) = parameters.repeated() {
        let shown: String = twice.chars().take(80).collect();
        return Err(Problem::invalid(format!("give the parameter `{shown}` once")));
    }
    Ok(parameters)
}

/// A parameter of the query, if it is there.
pub(super) fn parameter<T: FromStr>(
    parameters: &Parameters,
    name: &str,
    what: &str,
) -> Result<Option<T>, Problem> {
    let text = parameters.get(name);
    let wrong = |_| Problem::invalid(format!("the parameter `{name}` has to be {what}"));
    text.map(|text| text.parse().map_err(wrong)).transpose()
}

impl<T: FromStr> Page<T> {
    /// `from`: the name of the parameter that says where it begins.
    pub(super) fn of(request: &HttpRequest, from: &str, what: &str) -> Result<Self, Problem> {
        let parameters = query(request)?;
        let range = format!("a number from 1 to {MOST}");
        let limit = parameter(&parameters, "limit", &range)?.unwrap_or(DEFAULT);
        if !(1..=MOST).contains(&limit) {
            return Err(Problem::invalid(format!("the parameter `limit` has to be {range}")));
        }
        Ok(Self { from: parameter(&parameters, from, what)?, limit })
    }

    /// Where the next part begins; None: this was the last.
    pub(super) fn next<N>(&self, found: &[impl Sized], last: Option<N>) -> Option<N> {
        last.filter(|_| u32::try_from(found.len()).is_ok_and(|count| count >= self.limit))
    }
}
