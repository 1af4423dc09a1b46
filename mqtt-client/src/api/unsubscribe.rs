//! Unsubscribing, from filters or with a stream.

use crate::api::place::Place;
use crate::error::UnsubscribeError;
use crate::hub::own::Own;
use crate::hub::pending_reply::PendingReply;
use crate::hub::shared::Handle;
use crate::hub::wakers::Wakers;
use martlet_proto::{TopicError, TopicFilter, UnsubAckReasonCode, UserProperties};
use martlet_session::{Answer, UnsubscribeRequest};
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// An unsubscribe about to be made, from [`Client::unsubscribe`](crate::Client::unsubscribe) or
/// [`Subscription::unsubscribe`](crate::Subscription::unsubscribe); await it for the server's
/// answer (MQTT 5 §3.11), a code for each filter; there is none for a stream all of whose filters
/// other streams have.
///
/// # Errors
/// [`UnsubscribeError`] when it could not be asked, or was not answered.
///
/// ```
/// # use martlet_client::{Client, UnsubscribeError};
/// # async fn example(client: Client) -> Result<(), UnsubscribeError> {
/// client.unsubscribe_all(["lamps/+/set", "lamps/all"]).await?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
#[must_use = "an unsubscribe does nothing until it is awaited"]
pub struct UnsubscribeBuilder<'a> {
    target: Target<'a>,
    user_properties: UserProperties,
    offline_timeout: Option<Duration>,
}

#[derive(Debug)]
enum Target<'a> {
    Filters(&'a Arc<Handle>, Result<Vec<TopicFilter>, TopicError>),
    Stream(Place),
}

impl<'a> UnsubscribeBuilder<'a> {
    /// Without a filter yet.
    pub(crate) fn new(handle: &'a Arc<Handle>) -> Self {
        Self {
            target: Target::Filters(handle, Ok(Vec::new())),
            user_properties: UserProperties::new(),
            offline_timeout: None,
        }
    }

    /// From all filters of a stream.
    pub(crate) fn stream(place: Place) -> Self {
        Self {
            target: Target::Stream(place),
            user_properties: UserProperties::new(),
            offline_timeout: None,
        }
    }

    /// Adds a filter. Filters are sent together, at most
    /// [`max_filters_per_packet`](martlet_session::Config::max_filters_per_packet) in an
    /// UNSUBSCRIBE, and have one answer. It changes nothing where a
    /// [stream](crate::Subscription::unsubscribe) is unsubscribed, which has its own.
    pub fn and(mut self, filter: impl TryInto<TopicFilter, Error: Into<TopicError>>) -> Self {
        if let Target::Filters(_, filters) = &mut self.target {
            match (filter.try_into(), &mut *filters) {
                (Ok(mut filter), Ok(filters)) => {
                    filter.own();
                    filters.push(filter);
                }
                (Err(error), Ok(_)) => *filters = Err(error.into()),
                (_, Err(_)) => {}
            }
        }
        self
    }

    /// Sends these name-value pairs with the UNSUBSCRIBE (MQTT 5 §3.10.2.1.2). Default: none.
    pub fn user_properties(mut self, mut properties: UserProperties) -> Self {
        properties.own();
        self.user_properties = properties;
        self
    }

    /// Sets how long it waits to be sent; then it fails, but is still sent when there is a
    /// connection. Default: the session's
    /// [`offline_timeout`](martlet_session::Config::offline_timeout), 60 s.
    pub fn offline_timeout(mut self, timeout: Duration) -> Self {
        self.offline_timeout = Some(timeout);
        self
    }

    fn start(self) -> Result<Option<PendingReply>, UnsubscribeError> {
        let Self {
            target,
            user_properties,
            offline_timeout,
        } = self;
        let request = |filters| {
            let request = UnsubscribeRequest::new(filters).user_properties(user_properties);
            match offline_timeout {
                Some(timeout) => request.offline_timeout(timeout),
                None => request,
            }
        };
        match target {
            Target::Filters(handle, filters) => {
                let filters = filters?;
                let mut wakers = Wakers::default();
                let pending = PendingReply::ask(handle, |state, now| {
                    let operation = state.session.unsubscribe(now, request(filters.clone()))?;
                    filters
                        .iter()
                        .for_each(|filter| state.routes.remove_filter(filter, &mut wakers));
                    Ok(operation)
                });
                wakers.wake();
                Ok(Some(pending?))
            }
            Target::Stream(mut place) => {
                // An unsubscribe does not leave it with the server.
                place.keep_on_server = false;
                place.handle.shared.act(|state, now| {
                    let filters = state.routes.filters_of_only(place.key);
                    let operation = match filters[..] {
                        [] => None,
                        _ => Some(state.session.unsubscribe(now, request(filters))?),
                    };
                    // Unsubscribed from here on, so dropping the stream does not do it again.
                    state.routes.leave(place.key);
                    Ok(operation
                        .map(|operation| PendingReply::new(&place.handle, state, operation)))
                })
            }
        }
    }
}

impl<'a> IntoFuture for UnsubscribeBuilder<'a> {
    type Output = Result<Answer<UnsubAckReasonCode>, UnsubscribeError>;
    type IntoFuture = Pin<Box<dyn Future<Output = Self::Output> + Send + 'a>>;

    /// Cancel safe: dropped while it waits, the UNSUBSCRIBE continues in the background.
    fn into_future(self) -> Self::IntoFuture {
        Box::pin(async move {
            let Some(mut pending) = self.start()? else {
                return Ok(Answer::new(Vec::new()));
            };
            Ok(poll_fn(|cx| pending.poll(cx)).await.into_unsubscribed()?)
        })
    }
}
