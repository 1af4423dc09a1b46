//! The broker on real sockets.
