//! Role templates: JSON documents that turn a tenant and a user into permissions.
//!
//! A document is parsed first and Handlebars stands only inside its strings, so no value can change
//! the structure. Handlebars' parser decides what a string means; this module takes the syntax tree
//! apart, refuses all but text and `{{path}}`, and renders that itself.

mod bound;
pub mod boundary;
mod cases;
pub mod ceiling;
mod compile;
mod cover;
pub mod diff;
mod document;
mod expression;
mod given;
mod hostile;
mod lifetime;
mod lint;
pub mod outline;
mod place;
pub mod proof;
mod reads;
mod render;
pub mod review;
mod trace;
mod values;
pub mod version;

pub use self::bound::Bound;
pub use self::cases::CaseOutcome;
pub use self::document::TemplateError;
pub use self::document::TemplateErrors;
pub use self::document::place;
pub use self::hostile::HostileReport;
pub use self::lifetime::Limits;
pub use self::lifetime::check_lifetime;
pub use self::lint::Finding;
pub use self::lint::lint;
pub use self::render::RenderError;
pub use self::render::Rendered;
pub use self::render::RoleTemplate;
pub use self::trace::Origin;
pub use self::trace::Skipped;
pub use self::trace::Traced;
pub use self::trace::ValueUsed;
pub use self::trace::Why;
pub use self::values::Problem;
pub use self::values::RenderInput;
pub use self::values::User;

#[cfg(test)]
mod cover_tests;
#[cfg(test)]
mod tests;
