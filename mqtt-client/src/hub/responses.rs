//! Requests that wait for their responses, and where those come in (MQTT 5 §4.10).

use crate::hub::message::Message;
use crate::hub::route::RouteKey;
use crate::hub::wakers::{Caller, KeptWaker, Wakers};
use martlet_proto::TopicName;
use slab::Slab;
use std::task::Poll;

/// How many requests of a client may wait for their responses: more than a program has tasks for
/// them, few enough to bound what responses that nobody fetches take.
const WAITING: usize = 1024;

/// How many bytes of responses wait that nobody has fetched: as many as in a stream. One response
/// waits in any case.
const WAITING_BYTES: usize = 16 * 1024 * 1024;

/// Why there is no response.
#[derive(Debug, Clone, Copy)]
pub(crate) enum NoResponse {
    /// It came when too many bytes of others waited.
    Dropped,
    /// The client has stopped.
    Stopped,
}

/// Under the client's lock: where responses come in, and who waits for them.
#[derive(Debug, Default)]
pub(crate) struct Responses {
    pub(crate) inbox: Option<Inbox>,
    waiting: Slab<Waiting>,
    /// The sizes of the responses that wait.
    bytes: usize,
    requests: u64,
    /// Makes the tags of correlation data.
    secret: CorrelationKey,
    ended: bool,
}

#[derive(Debug)]
pub(crate) struct Inbox {
    pub(crate) topic: TopicName,
    pub(crate) route: RouteKey,
    pub(crate) subscribed: bool,
}

#[derive(Debug)]
struct Waiting {
    tag: Tag,
    response: Option<Result<Message, NoResponse>>,
    waker: Option<KeptWaker>,
}

impl Waiting {
    /// How many bytes wait for it.
    fn size(&self) -> usize {
        match &self.response {
            Some(Ok(message)) => message.size(),
            _ => 0,
        }
    }
}

/// What only the client and who has seen a request know of it.
type Tag = [u8; 16];

/// Names a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RequestNumber {
    key: u32,
    /// Never used again, so that a late response finds nobody.
    tag: Tag,
}

impl RequestNumber {
    pub(crate) fn correlation(self) -> [u8; 20] {
        let mut data = [0; 20];
        data[..4].copy_from_slice(&self.key.to_be_bytes());
        data[4..].copy_from_slice(&self.tag);
        data
    }

    fn of(data: &[u8]) -> Option<Self> {
        let (key, tag) = data.split_first_chunk()?;
        Some(Self {
            key: u32::from_be_bytes(*key),
            tag: tag.try_into().ok()?,
        })
    }
}

/// The key of a client's correlation data.
#[derive(Default, Clone, Copy)]
pub(crate) struct CorrelationKey(pub(crate) [u64; 2]);

impl std::fmt::Debug for CorrelationKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secret")
    }
}

impl CorrelationKey {
    /// A tag that does not tell those of other requests.
    fn tag(self, request: u64) -> Tag {
        let mut tag = [0; 16];
        tag[..8].copy_from_slice(&self.hash(0, request).to_le_bytes());
        tag[8..].copy_from_slice(&self.hash(1, request).to_le_bytes());
        tag
    }

    /// SipHash-2-4 of two words.
    fn hash(self, first: u64, second: u64) -> u64 {
        let [k0, k1] = self.0;
        let mut v = [
            k0 ^ 0x736f_6d65_7073_6575,
            k1 ^ 0x646f_7261_6e64_6f6d,
            k0 ^ 0x6c79_6765_6e65_7261,
            k1 ^ 0x7465_6462_7974_6573,
        ];
        let round = |v: &mut [u64; 4]| {
            v[0] = v[0].wrapping_add(v[1]);
            v[2] = v[2].wrapping_add(v[3]);
            v[1] = v[1].rotate_left(13) ^ v[0];
            v[3] = v[3].rotate_left(16) ^ v[2];
            v[0] = v[0].rotate_left(32);
            v[2] = v[2].wrapping_add(v[1]);
            v[0] = v[0].wrapping_add(v[3]);
            v[1] = v[1].rotate_left(17) ^ v[2];
            v[3] = v[3].rotate_left(21) ^ v[0];
            v[2] = v[2].rotate_left(32);
        };
        // The last word is the length.
        for word in [first, second, 16 << 56] {
            v[3] ^= word;
            (0..2).for_each(|_| round(&mut v));
            v[0] ^= word;
        }
        v[2] ^= 0xff;
        (0..4).for_each(|_| round(&mut v));
        v[0] ^ v[1] ^ v[2] ^ v[3]
    }
}

impl Responses {
    pub(crate) fn inbox(&self) -> Option<&Inbox> {
        self.inbox.as_ref()
    }

    /// Adds a request that waits for its response; `None` where as many wait as may.
    pub(crate) fn add(&mut self) -> Option<RequestNumber> {
        if self.waiting.len() >= WAITING {
            return None;
        }
        self.requests += 1;
        let tag = self.secret.tag(self.requests);
        let key = self.waiting.insert(Waiting {
            tag,
            response: None,
            waker: None,
        }) as u32;
        Some(RequestNumber { key, tag })
    }

    /// The response to this request.
    pub(crate) fn poll(
        &mut self,
        number: RequestNumber,
        caller: &mut Caller<'_>,
    ) -> Poll<Result<Message, NoResponse>> {
        let has_ended = self.ended;
        let waiting = self.find(number).expect("it waits until it is removed");
        let size = waiting.size();
        match waiting.response.take() {
            Some(response) => {
                self.bytes -= size;
                Poll::Ready(response)
            }
            None if has_ended => Poll::Ready(Err(NoResponse::Stopped)),
            None => {
                caller.wait_in(&mut waiting.waker);
                Poll::Pending
            }
        }
    }

    /// Nobody waits for this response any more. Returns the waker of who did.
    pub(crate) fn remove(&mut self, number: RequestNumber) -> Option<KeptWaker> {
        let waiting = self.waiting.remove(number.key as usize);
        self.bytes -= waiting.size();
        waiting.waker
    }

    fn find(&mut self, number: RequestNumber) -> Option<&mut Waiting> {
        let waiting = self.waiting.get_mut(number.key as usize)?;
        (waiting.tag == number.tag).then_some(waiting)
    }

    /// Sets what correlation data is made with.
    pub(crate) fn set_secret(&mut self, secret: CorrelationKey) {
        self.secret = secret;
    }

    /// Whether a response is outstanding, so that somebody may be waiting for it.
    pub(crate) fn awaits_response(&self) -> bool {
        let mut waiting = self.waiting.iter();
        waiting.any(|(_, waiting)| waiting.response.is_none())
    }

    /// A message has come to the inbox. What answers no request that waits is dropped.
    pub(crate) fn deliver(&mut self, message: Message, wakers: &mut Wakers) {
        let number = message
            .properties()
            .correlation_data()
            .and_then(RequestNumber::of);
        let bytes = self.bytes + message.size();
        let fits = self.bytes == 0 || bytes <= WAITING_BYTES;
        if let Some(waiting) = number.and_then(|number| self.find(number)) {
            if waiting.response.is_none() {
                wakers.take(&mut waiting.waker);
                if fits {
                    waiting.response = Some(Ok(message));
                    self.bytes = bytes;
                } else {
                    waiting.response = Some(Err(NoResponse::Dropped));
                }
            }
        }
    }

    /// The client goes on.
    pub(crate) fn resume(&mut self) {
        self.ended = false;
    }

    /// No response will come any more.
    pub(crate) fn end(&mut self, wakers: &mut Wakers) {
        self.ended = true;
        for (_, waiting) in &mut self.waiting {
            wakers.take(&mut waiting.waker);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vector of the authors for the bytes 0 to 15 under the key of the bytes 0 to 15.
    #[test]
    fn tags_are_made_with_siphash() {
        let key = CorrelationKey([0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908]);
        assert_eq!(
            key.hash(0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908),
            0x3f2a_cc7f_57c2_9bdb
        );
    }
}
