//! The session.
#![no_std]
