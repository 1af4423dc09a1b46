//! What amqtt's own tests hold, with a broker that others have made for each of them.

use crate::any_broker;
use crate::peers::{Peer, in_time, is_wanted};

macro_rules! with_real_brokers {
    ($($name:ident)*) => {
        mod mosquitto {
            use super::{Peer, any_broker, in_time, is_wanted};

            $(
                #[tokio::test]
                async fn $name() {
                    if is_wanted() {
                        let broker = Peer::mosquitto().await;
                        let uri = format!("mqtt://localhost:{}", broker.ports[0]);
                        in_time(stringify!($name), any_broker::$name(&uri)).await;
                    }
                }
            )*
        }

        mod amqtt {
            use super::{Peer, any_broker, in_time, is_wanted};

            $(
                #[tokio::test]
                async fn $name() {
                    if is_wanted() {
                        let broker = Peer::amqtt().await;
                        let uri = format!("mqtt://anybody@localhost:{}", broker.ports[0]);
                        in_time(stringify!($name), any_broker::$name(&uri)).await;
                    }
                }
            )*
        }
    };
}
any_broker::with_any_broker!(with_real_brokers);
