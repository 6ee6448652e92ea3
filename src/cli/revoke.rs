//! `rolemint revoke`

use crate::cli::installation::{AuthorArguments, Installation};
use crate::cli::{ConfigArgument, print};
use crate::domain::ids::TenantId;
use crate::domain::revocation::RevocationTarget;
use crate::service::revocations::{self, Order};
use clap::Args;

#[derive(Args, Debug)]
pub(super) struct Revoke {
    /// token, session, subject, client, tenant, provider, `api_key`, role, `template_version` or before
    target: String,
    /// Which one: an id, a name, a version such as data-entry@3, or a moment such as 2026-01-31T12:00:00Z
    value: String,
    /// End only what belongs to this tenant
    #[arg(long, value_name = "TENANT")]
    tenant: Option<TenantId>,
    #[command(flatten)]
    config: ConfigArgument,
    #[command(flatten)]
    author: AuthorArguments,
}

impl Revoke {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let Installation { database, clock, .. } = Installation::open(&self.config).await?;
        let now = clock.now();
        let target = RevocationTarget::parse(&self.target, &self.value, now)?;
        let order = Order { target, tenant: self.tenant, author: self.author.author() };
        let position = revocations::revoke(&database, &order, now).await?;
        let (kind, value) = (order.target.kind(), order.target.value());
        print(format_args!("{kind} {value} is revoked: revocation {position}"))
    }
}
