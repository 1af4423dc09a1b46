//! What amqtt's own tests hold, with brokers that are real.

use crate::any_broker;

/// Runs what amqtt's own tests hold with such a broker for each test.
macro_rules! with_real_brokers {
    ($($name:ident)*) => {
        mod mosquitto {
            $(
                #[tokio::test]
                #[ignore = "needs real brokers: see .ci/run"]
                async fn $name() {
                    let broker = crate::peers::Peer::mosquitto().await;
                    let uri = format!("mqtt://localhost:{}", broker.ports[0]);
                    crate::peers::in_time(stringify!($name), crate::any_broker::$name(&uri)).await;
                }
            )*
        }

        mod amqtt {
            $(
                #[tokio::test]
                #[ignore = "needs real brokers: see .ci/run"]
                async fn $name() {
                    let broker = crate::peers::Peer::amqtt().await;
                    let uri = format!("mqtt://anybody@localhost:{}", broker.ports[0]);
                    crate::peers::in_time(stringify!($name), crate::any_broker::$name(&uri)).await;
                }
            )*
        }
    };
}
any_broker::with_any_broker!(with_real_brokers);
