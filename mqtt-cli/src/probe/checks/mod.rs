//! What is tried, by what it is about. Each check returns a finding for each of its capabilities, or
//! why they could not be tried.

mod access;
mod delivery;
mod limits;
mod publishing;
mod retained;
mod sessions;
mod subscriptions;
mod versions;
mod wills;

pub(super) use access::denied_topic;
pub(super) use delivery::{delivered_once, published_once, receive_maximum, redelivery};
pub(super) use limits::{announced, largest_payload, maximum_qos};
pub(super) use publishing::{
    aliases_from_server, aliases_to_server, message_expiry, message_properties, user_properties,
};
pub(super) use retained::{
    retain_as_published, retain_handling, retained_for_wildcards, retained_messages,
};
pub(super) use sessions::{
    empty_identifier, offline_order, offline_queue, session_kept, session_without_subscriptions,
    takeover,
};
pub(super) use subscriptions::{
    delivery_qos, dollar_topics, many_filters, no_local, overlapping, shared,
    subscription_identifiers, wildcards,
};
pub(super) use versions::versions;
pub(super) use wills::{will_delay, wills};
