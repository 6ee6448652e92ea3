//! Whether the templates of a deployment can be used together.

use crate::catalog::STANDARD_VOCABULARY;
use crate::deployment::TemplateProblem;
use crate::domain::deployment::{Deployment, EntryId, Plan};
use crate::domain::permission::Vocabulary;
use crate::domain::template::RoleTemplate;
use crate::domain::template::version::VersionRecord;

/// Compiles every template and ceiling against the vocabulary that they will meet.
pub fn check_templates(deployment: &Deployment) -> Vec<TemplateProblem> {
    let source = deployment.vocabulary.as_deref().unwrap_or(STANDARD_VOCABULARY);
    let vocabulary: Vocabulary = match toml::from_str(source) {
        Ok(vocabulary) => vocabulary,
        Err(error) => {
            let message = error.message().to_owned();
            return vec![TemplateProblem { entry: EntryId::Vocabulary, message }];
        }
    };
    let mut problems = Vec::new();
    for declared in &deployment.roles {
        let compiled =
            RoleTemplate::compile(&declared.source, &vocabulary, declared.crosses_tenants);
        if let Err(errors) = compiled {
            let entry = EntryId::Role(declared.role.clone());
            problems.push(TemplateProblem { entry, message: errors.to_string() });
        }
    }
    for client in &deployment.clients {
        let Some(ceiling) = &client.ceiling else { continue };
        if let Err(errors) = RoleTemplate::compile(&ceiling.to_string(), &vocabulary, true) {
            let entry = EntryId::Client(client.id.clone());
            problems.push(TemplateProblem { entry, message: format!("ceiling: {errors}") });
        }
    }
    problems
}

/// The plan, with what people should know of its templates; or what is wrong with these.
pub(super) fn check_outcome(
    plan: Plan,
    _published: &[VersionRecord],
) -> Result<Plan, Vec<TemplateProblem>> {
    let problems = check_templates(&plan.outcome);
    if problems.is_empty() { Ok(plan) } else { Err(problems) }
}
