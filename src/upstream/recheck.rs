//! Asking a provider again about somebody who signed in there: a refresh token for what holds of them now.

use crate::domain::Time;
use crate::domain::provider::{Provider, ProviderKind};
use crate::domain::secret::Secret;
use crate::domain::subject::VerifiedIdentity;
use crate::upstream::discovery::Known;
use crate::upstream::error::Misconfiguration;
use crate::upstream::error::Refusal;
use crate::upstream::error::UpstreamError;
use crate::upstream::http::Reach;
use crate::upstream::id_token::Expected;
use crate::upstream::oauth::{self, Refresh};
use crate::upstream::{Upstream, Vouched, claim, login};
use oauth2::TokenUrl;

/// One question about one person.
pub(super) struct Question<'a> {
    pub(super) provider: &'a Provider,
    pub(super) client_secret: Option<&'a Secret<String>>,
    pub(super) refresh_token: &'a Secret<String>,
    pub(super) now: Time,
}

impl Upstream {
    pub(super) async fn ask_oidc(
        &self,
        known: &Known,
        question: &Question<'_>,
    ) -> Result<Vouched, UpstreamError> {
        let Question { provider, client_secret, refresh_token, now } = *question;
        let ProviderKind::Oidc { algorithms, userinfo, .. } = &provider.kind else {
            return Err(Refusal::NotAllowed.into());
        };
        let metadata = known.metadata().await?;
        let token_endpoint = metadata.token_endpoint.clone();
        let refresh = Refresh { token_endpoint, refresh_token, client_secret };
        let tokens = oauth::refresh(self.http(), known.reach, provider, refresh).await?;
        let identity = if let Some(id_token) = &tokens.id_token {
            // OpenID Connect Core §12.2: as the first one, and no nonce is asked for. Whether it is about the
            // same person is for the caller to see.
            let expected = Expected {
                issuer: &known.issuer,
                algorithms,
                audiences: [provider.client_id.as_str()].into(),
                nonce: None,
                access_token: Some(&tokens.access_token),
                now,
            };
            let mut claims = self.verify(known, id_token, &expected).await?;
            if *userinfo {
                self.add_user_info(known, &metadata, &tokens, &mut claims).await?;
            }
            login::identity(provider, claims)
        } else if *userinfo {
            // §12.2 lets a provider leave the ID token out.
            let endpoint = metadata.userinfo_endpoint.as_ref();
            let endpoint = endpoint.ok_or(Misconfiguration::NoUserInfoEndpoint)?;
            let claims =
                oauth::user_info(self.http(), known.reach, endpoint, &tokens.access_token).await?;
            let subject = claim::identifier(&claims, "sub", Refusal::Subject)?;
            VerifiedIdentity {
                provider: provider.id.clone(),
                upstream_subject: subject.ok_or(Refusal::Subject)?.to_owned(),
                claims,
                authenticated_at: None,
                session: None,
            }
        } else {
            return Err(Refusal::NoIdToken.into());
        };
        Ok(Vouched { identity, refresh_token: tokens.refresh_token })
    }

    pub(super) async fn ask_oauth2(
        &self,
        question: &Question<'_>,
    ) -> Result<Vouched, UpstreamError> {
        let Question { provider, client_secret, refresh_token, .. } = *question;
        let ProviderKind::OAuth2 { authorization_endpoint, token_endpoint, .. } = &provider.kind
        else {
            return Err(Refusal::NotAllowed.into());
        };
        let reach = Reach::of(authorization_endpoint);
        let token_endpoint = TokenUrl::from_url(token_endpoint.clone());
        let refresh = Refresh { token_endpoint, refresh_token, client_secret };
        let tokens = oauth::refresh(self.http(), reach, provider, refresh).await?;
        let identity = self.who_has(provider, reach, &tokens.access_token).await?;
        Ok(Vouched { identity, refresh_token: tokens.refresh_token })
    }
}
