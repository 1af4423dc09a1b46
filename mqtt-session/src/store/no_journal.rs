//! The journal of a session that cannot be durable: there is none, and the compiler knows.

use crate::OperationId;
use crate::output::DelayedAnswer;
use martlet_proto::PacketIdentifier;

/// Has no values.
#[derive(Debug)]
pub(crate) enum Journal {}

impl Journal {
    pub(crate) fn is_behind(&self) -> bool {
        match *self {}
    }

    pub(crate) fn delay(&mut self, _: DelayedAnswer) {
        match *self {}
    }

    pub(crate) fn forget_answers(&mut self) {
        match *self {}
    }

    pub(crate) fn put_received(&mut self, _: PacketIdentifier) {
        match *self {}
    }

    pub(crate) fn delete_received(&mut self, _: PacketIdentifier) {
        match *self {}
    }

    pub(crate) fn may_publish(&self, _: OperationId) -> bool {
        match *self {}
    }

    pub(crate) fn may_release(&self) -> bool {
        match *self {}
    }
}
