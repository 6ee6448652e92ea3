//! The tables, as both databases have them.

diesel::table! { heads (name) { name -> Text, position -> BigInt, } }
diesel::table! { documents (name) { name -> Text, content -> Text, } }
diesel::table! { tenants (id) { id -> Text, document -> Text, } }
diesel::table! { providers (id) { id -> Text, document -> Text, } }
diesel::table! { provider_tenants (provider_id, tenant_id) { provider_id -> Text, tenant_id -> Text, } }
diesel::table! { provider_domains (domain) { domain -> Text, provider_id -> Text, } }
diesel::table! { clients (id) { id -> Text, document -> Text, } }
diesel::table! { client_origins (client_id, origin) { client_id -> Text, origin -> Text, } }
diesel::table! {
    roles (role) {
        role -> Text,
        crosses_tenants -> Bool,
        ceiling -> Nullable<Text>,
        ceiling_since -> Nullable<BigInt>,
    }
}
diesel::table! {
    template_versions (role, tenant, version) {
        role -> Text,
        tenant -> Text,
        version -> BigInt,
        state -> Text,
        source -> Text,
        created_at -> BigInt,
        created_by -> Text,
        published_at -> BigInt,
        published_by -> Text,
        reason -> Text,
        superseded_at -> Nullable<BigInt>,
    }
}
diesel::table! {
    template_drafts (role, tenant) {
        role -> Text,
        tenant -> Text,
        revision -> BigInt,
        source -> Text,
        saved_at -> BigInt,
        saved_by -> Text,
    }
}
diesel::table! {
    subjects (id) {
        id -> Text,
        provider_id -> Text,
        upstream_subject -> Text,
        tenant_id -> Text,
        claims -> Text,
        last_sign_in -> BigInt,
    }
}
diesel::table! {
    sessions (session_id) {
        session_id -> Text,
        subject_id -> Text,
        tenant_id -> Text,
        client_id -> Text,
        provider_id -> Text,
        upstream_session -> Nullable<Text>,
        begun_at -> BigInt,
        begun -> BigInt,
        ends_at -> BigInt,
    }
}
diesel::table! {
    ended_sessions (session_id) {
        session_id -> Text,
        subject_id -> Text,
        tenant_id -> Text,
        client_id -> Text,
        at -> BigInt,
        reason -> Text,
        would_have_ended_at -> BigInt,
        cause -> Nullable<Text>,
        address -> Nullable<Text>,
    }
}
diesel::table! {
    audit_events (id) {
        id -> BigInt,
        kind -> Text,
        at -> BigInt,
        tenant_id -> Nullable<Text>,
        subject_id -> Nullable<Text>,
        client_id -> Nullable<Text>,
        session_id -> Nullable<Text>,
        detail -> Text,
    }
}
diesel::table! {
    upstream_tokens (session_id) {
        session_id -> Text,
        sealed -> Nullable<Text>,
        claims -> Nullable<Text>,
        vouched_at -> BigInt,
        asking_until -> BigInt,
        ends_at -> BigInt,
    }
}
diesel::table! { logout_tokens (id) { id -> Text, expires_at -> BigInt, } }
diesel::table! {
    upstream_sessions (provider_id, upstream_session) {
        provider_id -> Text,
        upstream_session -> Text,
        ended -> Bool,
        expires_at -> BigInt,
    }
}
diesel::table! {
    revocations (position) {
        position -> BigInt,
        target -> Text,
        tenant_id -> Nullable<Text>,
        session_id -> Nullable<Text>,
        bucket -> Nullable<Integer>,
        at -> BigInt,
        held_until -> BigInt,
        expires_at -> BigInt,
        reason -> Text,
        audience -> Nullable<Text>,
        kind -> Text,
        named -> Nullable<Text>,
        revoked_by -> Nullable<Text>,
    }
}
diesel::table! {
    feed_readers (client_id, reader) {
        client_id -> Text,
        reader -> Text,
        position -> BigInt,
        reported_at -> BigInt,
    }
}
diesel::table! { changes (position) { position -> BigInt, kind -> Text, key -> Text, at -> BigInt, } }
diesel::table! {
    signing_keys (kid) { kid -> Text, algorithm -> Text, sealed -> Text, created_at -> BigInt, }
}
diesel::table! { derivation_keys (id) { id -> Integer, sealed -> Text, created_at -> BigInt, } }

diesel::joinable!(template_versions -> roles (role));
diesel::allow_tables_to_appear_in_same_query!(roles, template_versions);
diesel::allow_tables_to_appear_in_same_query!(sessions, ended_sessions);
