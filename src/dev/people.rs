//! The people of the demo. They sign in by being chosen: nothing here is fit for anything but a demo.

/// Somebody whom the demo provider knows.
#[derive(Debug)]
pub(crate) struct Person {
    /// The e-mail address, which is also what she signs in with.
    pub(crate) username: &'static str,
    pub(crate) name: &'static str,
    /// `sub`: never changes, and says nothing about the person.
    pub(crate) subject: &'static str,
    pub(crate) roles: &'static [&'static str],
    /// Who that is, for whoever looks at the sign-in page.
    pub(crate) about: &'static str,
}

pub(crate) static PEOPLE: [Person; 5] = [
    Person {
        username: "dana@acme.example",
        name: "Dana Doyle",
        subject: "4c1d7b52-0b5e-4bb0-9d0e-3f6a2f1f7a11",
        roles: &["data-entry"],
        about: "Enters data at Acme",
    },
    Person {
        username: "ada@acme.example",
        name: "Ada Abara",
        subject: "b0a7c9f4-5a52-4f0c-8d39-74c8e02b6d52",
        roles: &["admin"],
        about: "Administers Acme",
    },
    Person {
        username: "gil@globex.example",
        name: "Gil Garza",
        subject: "e83f2a60-96d1-4c57-a1f4-0d2b9c6e5f93",
        roles: &["data-entry"],
        about: "Enters data at Globex, another tenant",
    },
    Person {
        username: "nora@acme.example",
        name: "Nora Nilsen",
        subject: "1f9e4d3b-7c28-4e66-b5aa-c3d7e8f90a24",
        roles: &[],
        about: "Works at Acme, has no role: is refused",
    },
    Person {
        username: "root@platform.example",
        name: "Robin Root",
        subject: "97d5a8e1-2b4f-4a0d-8c63-5e1f0b7d3c85",
        roles: &["platform-admin"],
        about: "Runs the platform for all tenants",
    },
];

impl Person {
    pub(crate) fn find(username: &str) -> Option<&'static Self> {
        PEOPLE.iter().find(|person| person.username == username)
    }

    /// The first letter of the name, where other sites have a picture.
    pub(crate) fn initial(&self) -> String {
        self.name.chars().take(1).collect()
    }
}
