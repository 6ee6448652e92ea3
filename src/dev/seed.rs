//! What the demo starts with: a deployment file and the templates that it names, in the binary.

use crate::dev::demo::BACKEND_SECRET;
use crate::dev::provider::application::ELSEWHERE_ID;
use crate::dev::provider::application::SERVER_ID;
use crate::dev::provider::application::SERVER_SECRET;
use std::io;

/// What messages call the file.
pub(crate) const NAME: &str = "deployment.toml of `rolemint dev`";
const DEPLOYMENT: &str = include_str!("deployment.toml");

/// The deployment file, for the ports that this run has.
pub(crate) fn deployment(port: u16, provider_port: u16) -> String {
    let (port, provider_port) = (port.to_string(), provider_port.to_string());
    let values = [
        ("port", port.as_str()),
        ("provider_port", &provider_port),
        ("server_id", SERVER_ID),
        ("elsewhere_id", ELSEWHERE_ID),
        ("server_secret", SERVER_SECRET),
        ("backend_secret", BACKEND_SECRET),
    ];
    let fill =
        |text: String, (name, value): (&str, &str)| text.replace(&format!("{{{{{name}}}}}"), value);
    values.into_iter().fold(DEPLOYMENT.to_owned(), fill)
}

/// A file that the deployment file names.
pub(crate) fn read(path: &str) -> io::Result<String> {
    let text = match path {
        "templates/roles/data-entry.json" => include_str!("../../templates/roles/data-entry.json"),
        "templates/roles/admin.json" => include_str!("../../templates/roles/admin.json"),
        "templates/roles/platform-admin.json" => {
            include_str!("../../templates/roles/platform-admin.json")
        }
        _ => return Err(io::ErrorKind::NotFound.into()),
    };
    Ok(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dev::people::PEOPLE;
    use crate::domain::client::RedirectUri;
    use crate::domain::provider::email_domain;
    use toml::{Table, Value};

    fn entries(document: &Table, kind: &str) -> Vec<Table> {
        let entries = document[kind].as_array().unwrap().iter();
        entries.map(|entry| entry.as_table().unwrap().clone()).collect()
    }

    #[test]
    fn nothing_is_left_to_fill_in_and_every_named_file_is_there() {
        let text = deployment(8080, 8081);
        assert!(!text.contains("{{") && !text.contains("}}"), "{text}");
        let document: Table = text.parse().unwrap();
        for role in entries(&document, "roles") {
            assert!(read(role["template"].as_str().unwrap()).unwrap().contains("permissions"));
        }
        assert!(read("../../etc/passwd").is_err());
        for client in entries(&document, "clients") {
            for uri in client.get("redirect_uris").and_then(Value::as_array).into_iter().flatten() {
                RedirectUri::try_from(uri.as_str().unwrap().to_owned()).unwrap();
            }
        }
    }

    #[test]
    fn every_person_has_a_tenant_and_her_roles_are_mapped() {
        let document: Table = deployment(8080, 8081).parse().unwrap();
        for person in &PEOPLE {
            let domain = email_domain(person.username).unwrap();
            let providers = entries(&document, "providers");
            let mut homes =
                providers.iter().filter(|p| p["tenants"]["table"].get(&domain).is_some());
            let home = homes.next().unwrap();
            assert!(homes.next().is_none(), "{domain} leads to one provider");
            for role in person.roles {
                let mut mappings = home["mappings"].as_array().unwrap().iter();
                assert!(mappings.any(|rule| rule["contains"].as_str() == Some(role)), "{role}");
            }
        }
    }
}
