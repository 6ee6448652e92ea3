//! The same for a running server, whose own catalog knows of a change before its answer leaves.

use crate::domain::ids::{Role, TenantId};
use crate::domain::template::diff::TemplateDiff;
use crate::domain::template::review::Review;
use crate::domain::template::version::{Draft, TemplateName, TemplateVersion, VersionRecord};
use crate::service::templates::{
    self, Author, HistoryEntry, NotDone, OverrideSummary, Publication, Published, Recall, Recalled,
    RoleDetail, RoleSummary, Withdrawal,
};
use crate::service::{Inner, Service};

impl Inner {
    /// It is committed: whether this node knows at once or a moment later changes nothing.
    async fn know_at_once(&self) {
        if let Err(error) = self.catalog.catch_up().await {
            tracing::warn!(%error, "a change of a template is committed, and not known here yet");
        }
    }
}

impl Service {
    pub async fn list_roles(&self) -> Result<Vec<RoleSummary>, NotDone> {
        templates::list_roles(&self.0.database).await
    }

    pub async fn show_role(&self, role: &Role) -> Result<RoleDetail, NotDone> {
        templates::show_role(&self.0.database, role).await
    }

    pub async fn show_template(
        &self,
        name: &TemplateName,
        version: Option<u64>,
    ) -> Result<VersionRecord, NotDone> {
        templates::show(&self.0.database, name, version).await
    }

    pub async fn list_overrides(
        &self,
        role: &Role,
        after: Option<&TenantId>,
        limit: u32,
    ) -> Result<Vec<OverrideSummary>, NotDone> {
        templates::list_overrides(&self.0.database, role, after, limit).await
    }

    pub async fn template_history(
        &self,
        name: &TemplateName,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<HistoryEntry>, NotDone> {
        let _turn = self.0.reviews.take().await?;
        templates::history(&self.0.database, name, before, limit).await
    }

    pub async fn template_diff(
        &self,
        from: &TemplateVersion,
        to: &TemplateVersion,
    ) -> Result<TemplateDiff, NotDone> {
        let _turn = self.0.reviews.take().await?;
        templates::diff(&self.0.database, from, to).await
    }

    pub async fn find_draft(&self, name: &TemplateName) -> Result<Option<Draft>, NotDone> {
        templates::find_draft(&self.0.database, name).await
    }

    pub async fn save_draft(
        &self,
        name: &TemplateName,
        source: &str,
        expected: Option<u64>,
        author: &Author,
    ) -> Result<Draft, NotDone> {
        let (database, now) = (&self.0.database, self.0.clock.now());
        templates::save_draft(database, name, source, expected, author, now).await
    }

    pub async fn delete_draft(
        &self,
        name: &TemplateName,
        revision: u64,
        author: &Author,
    ) -> Result<(), NotDone> {
        let (database, now) = (&self.0.database, self.0.clock.now());
        templates::delete_draft(database, name, revision, author, now).await
    }

    pub async fn review_template(
        &self,
        name: &TemplateName,
        source: &str,
    ) -> Result<Review, NotDone> {
        let _turn = self.0.reviews.take().await?;
        templates::review(&self.0.database, name, source).await
    }

    pub async fn publish_template(&self, publication: &Publication) -> Result<Published, NotDone> {
        let (database, now) = (&self.0.database, self.0.clock.now());
        let _turn = self.0.reviews.take().await?;
        let published = templates::publish(database, publication, now).await?;
        self.0.know_at_once().await;
        Ok(published)
    }

    pub async fn roll_template_back(
        &self,
        to: &TemplateVersion,
        expected: Option<u64>,
        widening_confirmed: bool,
        author: &Author,
    ) -> Result<Published, NotDone> {
        let (database, now) = (&self.0.database, self.0.clock.now());
        let confirmed = widening_confirmed;
        let _turn = self.0.reviews.take().await?;
        let published = templates::rollback(database, to, expected, confirmed, author, now).await?;
        self.0.know_at_once().await;
        Ok(published)
    }

    pub async fn withdraw_override(&self, withdrawal: &Withdrawal) -> Result<(), NotDone> {
        let _turn = self.0.reviews.take().await?;
        templates::withdraw(&self.0.database, withdrawal, self.0.clock.now()).await?;
        self.0.know_at_once().await;
        Ok(())
    }

    pub async fn recall_template(
        &self,
        version: &TemplateVersion,
        how: Recall,
        author: &Author,
    ) -> Result<Recalled, NotDone> {
        let (database, now) = (&self.0.database, self.0.clock.now());
        let stale_after = self.0.catalog.stale_after();
        let recalled = templates::recall(database, version, how, stale_after, author, now).await?;
        self.0.know_at_once().await;
        Ok(recalled)
    }
}
