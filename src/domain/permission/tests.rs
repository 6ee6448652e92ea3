use super::*;
pub(crate) fn vocabulary() -> Vocabulary {
    toml::from_str(include_str!("../../../templates/resources.toml")).unwrap()
}
