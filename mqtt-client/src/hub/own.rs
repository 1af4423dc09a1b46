//! Copies of what the application gave. The session and the routes drop what they are done with
//! under the lock, where no code of the application's may run, such as that of the owner of its
//! bytes (`Bytes::from_owner`). So they are given copies, made without the lock. Only the messages
//! that it publishes are not copied: see [`deferred`](crate::hub::deferred).

use bytes::Bytes;
use martlet_proto::{BinaryData, TopicFilter, TopicName, UserProperties, Utf8String, Will};
use martlet_session::Details;

pub(crate) trait Own {
    /// The same in memory of our own.
    fn own(&mut self);
}

impl Own for Utf8String {
    fn own(&mut self) {
        *self = Self::from_bytes(Bytes::copy_from_slice(self.as_bytes())).expect("it is one");
    }
}

impl Own for BinaryData {
    fn own(&mut self) {
        *self = Self::new(Bytes::copy_from_slice(self.as_bytes())).expect("it is one");
    }
}

impl Own for TopicName {
    fn own(&mut self) {
        *self = Self::from_bytes(Bytes::copy_from_slice(self.as_bytes())).expect("it is one");
    }
}

impl Own for TopicFilter {
    fn own(&mut self) {
        *self = Self::from_bytes(Bytes::copy_from_slice(self.as_bytes())).expect("it is one");
    }
}

impl Own for UserProperties {
    fn own(&mut self) {
        self.detach();
    }
}

impl<T: Own> Own for Option<T> {
    fn own(&mut self) {
        if let Some(it) = self {
            it.own();
        }
    }
}

impl<T: Own> Own for Box<T> {
    fn own(&mut self) {
        (**self).own();
    }
}

impl Own for Details {
    fn own(&mut self) {
        self.reason_string.own();
        self.user_properties.own();
    }
}

/// Properties of messages are memory of our own already.
impl Own for Will {
    fn own(&mut self) {
        self.topic.own();
        self.payload.own();
    }
}
