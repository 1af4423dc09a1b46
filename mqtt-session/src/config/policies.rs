//! What to do where there is a choice.

/// Which connections begin with a new session on the server (MQTT 5 §3.1.2.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum CleanStart {
    /// The first; later ones resume. In 3.x, where a clean session is clean each time, all of them.
    #[default]
    First,
    /// All of them, for applications that build up their state anew with each connection.
    Every,
    /// None: a session that an earlier process has left is resumed.
    Never,
}

/// How the topic aliases of sent messages are chosen. An alias always lives as long as its
/// connection: a message that waits, or is sent again, has its full topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum TopicAliases {
    /// The session: busy topics have the aliases that the server takes.
    #[default]
    Automatic,
    /// The application, with [`OutgoingPublish::topic_alias`](crate::OutgoingPublish::topic_alias).
    Manual,
    /// Topic aliases are not used.
    Off,
}

/// What to do with a message above our maximum packet size where the server cannot know it. In MQTT
/// 5 CONNECT announces it, and a server that sends such a message loses the connection
/// [MQTT-3.1.2-24].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Oversized {
    /// Its bytes are skipped as they come, it is acknowledged as if it had been taken, and
    /// [`Event::MessageSkipped`](crate::Event::MessageSkipped) names it. Otherwise one retained
    /// message would end every connection.
    #[default]
    Skip,
    /// The connection is closed.
    Disconnect,
}

/// What to do with a message in flight when the server has lost the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LostSession {
    /// Send it again: it may arrive twice. In MQTT 5, and after a clean session, it is a new
    /// message. In 3.1.1 without a clean session it keeps its packet identifier: a PUBLISH is sent
    /// again with DUP, and a PUBREL if the server has answered with PUBREC before [MQTT-4.4.0-1].
    Requeue,
    /// Fail it as [`InDoubt`](crate::PublishError::InDoubt): it may have arrived or not.
    InDoubt,
}

/// What to do with a message of QoS 1 or 2 at which the server ends one connection after the other:
/// it may be too large for the server, or its topic forbidden.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum WhenServerHangsUp {
    /// It fails as [`ServerHungUp`](crate::PublishError::ServerHungUp), once that has gone on for
    /// [`hang_up_time`](crate::Config::hang_up_time), and those behind it are sent. MQTT would have
    /// it sent again on each connection [MQTT-4.4.0-1].
    /// [`Event::ServerHangsUp`](crate::Event::ServerHangsUp) names it.
    #[default]
    Fail,
    /// It is sent again on each connection, and those behind it wait.
    KeepTrying,
    /// It is sent again on each connection, and
    /// [`Event::ServerHangsUp`](crate::Event::ServerHangsUp) asks the application each time that
    /// [`hang_up_limit`](crate::Config::hang_up_limit) more have ended: it may
    /// [withdraw](crate::Session::withdraw) the message.
    Ask,
}
