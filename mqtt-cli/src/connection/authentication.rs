//! Enhanced authentication in one step: the CONNECT has all that the server needs, such as a token.

use crate::exit::Failure;
use martlet_tokio::hooks::{AuthMessage, Authenticator, GivenUp, HookFuture};
use martlet_tokio::proto::{BinaryData, Utf8String};
use std::future::ready;

/// The properties of the CONNECT that authenticate.
#[derive(Debug, Default)]
pub(super) struct Authentication {
    pub(super) method: Option<Utf8String>,
    pub(super) data: Option<BinaryData>,
}

impl Authentication {
    /// The authenticator, if there is a method.
    pub(super) fn authenticator(&self) -> Result<Option<OneStep>, Failure> {
        let data = self.data.clone();
        match &self.method {
            Some(method) => Ok(Some(OneStep {
                method: method.clone(),
                data,
            })),
            None if data.is_some() => Err(Failure::usage(
                "--property connect authentication-data: there is no authentication-method",
            )),
            None => Ok(None),
        }
    }
}

/// A method whose first step is the last.
#[derive(Clone)]
pub(super) struct OneStep {
    method: Utf8String,
    data: Option<BinaryData>,
}

impl Authenticator for OneStep {
    fn method(&self) -> Utf8String {
        self.method.clone()
    }

    fn begin(&mut self) -> HookFuture<Option<BinaryData>> {
        Box::pin(ready(Ok(self.data.clone())))
    }

    fn answer(&mut self, _challenge: AuthMessage) -> HookFuture<Option<BinaryData>> {
        let text = format!(
            "the server asks for another step of the authentication method {}, and -D has the data of one only",
            self.method.as_str()
        );
        Box::pin(ready(Err(GivenUp::for_good(text))))
    }
}
