//! What a token allows: the vocabulary of resource types, single permissions, and sets of them.

mod form;
mod selector;
mod set;
mod single;
mod vocabulary;

pub use self::form::Form;
pub use self::form::Part;
pub use self::form::is_delimiter;
pub use self::selector::Pattern;
pub use self::selector::Selector;
pub use self::selector::check_text;
pub(in crate::domain) use self::selector::text_of;
pub use self::set::MAX_PARSED;
pub use self::set::PermissionSet;
pub use self::single::Permission;
pub use self::single::PermissionError;
pub use self::single::Resource;
pub(in crate::domain) use self::single::parse_role;
pub(in crate::domain) use self::single::resource_type;
pub use self::vocabulary::AccessRole;
pub use self::vocabulary::Actions;
pub use self::vocabulary::Kind;
pub use self::vocabulary::ResourceType;
pub use self::vocabulary::Vocabulary;
pub use self::vocabulary::VocabularyError;

#[cfg(test)]
pub(crate) mod tests;
