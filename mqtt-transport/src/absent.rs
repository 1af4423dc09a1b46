//! Placeholders for the stages that a build leaves out. None of these can be made.

#[cfg(not(feature = "tls"))]
pub(crate) mod tls {
    use crate::StackError;
    use bytes::{Buf, BytesMut};

    /// TLS with a server; this build is without the feature `tls`, so there is none.
    #[derive(Clone, Debug)]
    pub enum TlsClient {}

    pub(crate) enum Tls {}

    impl Tls {
        pub(crate) fn new(client: &TlsClient) -> Result<Self, StackError> {
            match *client {}
        }

        pub(crate) fn is_open(&self) -> bool {
            match *self {}
        }

        pub(crate) fn open(
            &mut self,
            _: &mut BytesMut,
            _: &mut BytesMut,
        ) -> Result<(), StackError> {
            match *self {}
        }

        pub(crate) fn handle_end(&self) -> Result<(), StackError> {
            match *self {}
        }

        pub(crate) fn seal(&mut self, _: &mut impl Buf, _: usize) {
            match *self {}
        }

        pub(crate) fn close(&mut self) {
            match *self {}
        }

        pub(crate) fn poll(&mut self, _: &mut BytesMut) {
            match *self {}
        }
    }
}

#[cfg(not(feature = "websocket"))]
pub(crate) mod web_socket {
    use crate::request::WebSocketRequest;
    use crate::{StackError, StackErrorKind};
    use bytes::{Buf, BytesMut};

    pub(crate) const MAX_HEADER: usize = 0;

    pub(crate) enum WebSocket {}

    impl WebSocket {
        pub(crate) fn new(_: &WebSocketRequest) -> Result<Self, StackError> {
            let text = "this build is without the feature `websocket`, which ws:// and wss:// need";
            Err(StackError::permanent(StackErrorKind::Configuration, text))
        }

        pub(crate) fn is_open(&self) -> bool {
            match *self {}
        }

        pub(crate) fn handle(
            &mut self,
            _: &mut BytesMut,
            _: &mut BytesMut,
        ) -> Result<(), StackError> {
            match *self {}
        }

        pub(crate) fn handle_end(&self) -> Result<(), StackError> {
            match *self {}
        }

        pub(crate) fn seal(&mut self, _: &mut impl Buf, _: usize) {
            match *self {}
        }

        pub(crate) fn close(&mut self) {
            match *self {}
        }

        pub(crate) fn poll(&mut self, _: &mut BytesMut) {
            match *self {}
        }
    }
}

#[cfg(all(test, not(feature = "websocket")))]
mod tests {
    use crate::{Stack, StackErrorKind, Transport, WebSocketRequest};

    #[test]
    fn a_stage_that_is_left_out_is_named() {
        let stack = Stack::default().web_socket(Some(WebSocketRequest::ws("h", 80, "/")));
        let error = Transport::new(&stack).expect_err("there is none");
        assert!(error.kind() == StackErrorKind::Configuration && error.is_permanent());
        assert!(
            error.to_string().contains("the feature `websocket`"),
            "{error}"
        );
    }
}
