//! `rolemint session`

use crate::cli::installation::Installation;
use crate::cli::{ConfigArgument, print};
use crate::domain::explanation::{Ending, Explanation};
use crate::domain::ids::SessionId;
use crate::service::sessions::{ExplainedSession, explain_from_database};
use anyhow::bail;
use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub(super) enum Session {
    /// Why a session ended, as far as the database knows
    Show(Show),
}

#[derive(Args, Debug)]
pub(super) struct Show {
    /// The session: claim `sid` of its tokens
    #[arg(value_name = "SID")]
    session: SessionId,
    #[command(flatten)]
    config: ConfigArgument,
}

impl Session {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Self::Show(Show { session, config }) = self;
        let Installation { database, clock, .. } = Installation::open(&config).await?;
        match explain_from_database(&database, session, clock.now()).await? {
            Some(explained) => print(words(&explained)),
            None => bail!("nothing is known of session {session}"),
        }
    }
}

fn words(session: &ExplainedSession) -> String {
    let mut lines = vec![format!("session {} of tenant {}", session.id, session.tenant)];
    if let Some(registered) = &session.registered {
        let (subject, client) = (&registered.subject, &registered.client);
        lines.push(format!(
            "{subject} signed in through {} for {client} at {}; it ends at {} at the latest",
            registered.provider, registered.begun_at, registered.ends_at
        ));
    }
    lines.push(match &session.explanation {
        Explanation::Ended(ending) => ended(ending),
        Explanation::Active { .. } | Explanation::NotBegun { .. } | Explanation::NotEnded => {
            "nothing has ended it; whether it lives is for the token store to say: ask a server"
                .to_owned()
        }
    });
    lines.join("\n")
}

fn ended(ending: &Ending) -> String {
    match ending.at() {
        Some(at) => format!("ended at {at}: {ending}"),
        None => format!("ended: {ending}"),
    }
}
