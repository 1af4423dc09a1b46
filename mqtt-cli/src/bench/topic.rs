//! Topics by template: `{client}` is the number of the client, `{n}` that of the message.

use martlet_tokio::{TopicFilter, TopicName};

/// A topic with places for numbers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Template(Vec<Part>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Client,
    Number,
}

impl Template {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some(begin) = rest.find('{') {
            if begin > 0 {
                parts.push(Part::Text(rest[..begin].to_owned()));
            }
            let end = rest[begin..].find('}').map(|end| begin + end);
            let name = end.map(|end| &rest[begin + 1..end]);
            parts.push(match name {
                Some("client") => Part::Client,
                Some("n") => Part::Number,
                _ => return Err("expected {client} or {n} after a {".to_owned()),
            });
            rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
        }
        if !rest.is_empty() {
            parts.push(Part::Text(rest.to_owned()));
        }
        Ok(Self(parts))
    }

    pub(super) fn has_number(&self) -> bool {
        self.0.contains(&Part::Number)
    }

    /// The topic of a message.
    pub(super) fn topic(&self, client: u32, number: u64) -> String {
        self.fill(client, &number.to_string())
    }

    /// A topic that all clients and messages can have, to check the template with: no other is
    /// longer.
    pub(super) fn check_topic(&self) -> Result<(), martlet_tokio::proto::TopicError> {
        TopicName::try_from(self.topic(u32::MAX, u64::MAX)).map(drop)
    }

    /// The filter of all messages of a client: a level that has the number of a message is `+`.
    pub(super) fn filter(
        &self,
        client: u32,
    ) -> Result<TopicFilter, martlet_tokio::proto::TopicError> {
        /// In no topic, and in no filter.
        const MARK: &str = "\0";
        let topic = self.fill(client, MARK);
        let levels: Vec<_> = topic
            .split('/')
            .map(|level| if level.contains(MARK) { "+" } else { level })
            .collect();
        TopicFilter::try_from(levels.join("/"))
    }

    fn fill(&self, client: u32, number: &str) -> String {
        let mut topic = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => topic.push_str(text),
                Part::Client => topic.push_str(&client.to_string()),
                Part::Number => topic.push_str(number),
            }
        }
        topic
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled() {
        let template = Template::parse("a/{client}/x{n}y/b").unwrap();
        assert_eq!(template.topic(7, 12), "a/7/x12y/b");
        assert_eq!(template.filter(7).unwrap().as_str(), "a/7/+/b");
        assert!(template.has_number());
        let plain = Template::parse("a/#").unwrap();
        assert_eq!(plain.filter(0).unwrap().as_str(), "a/#");
        assert!(plain.check_topic().is_err());
        assert!(
            Template::parse("{client}{n}")
                .unwrap()
                .check_topic()
                .is_ok()
        );
        for wrong in ["a/{", "a/{clint}", "{}", "a/{client"] {
            assert!(Template::parse(wrong).is_err(), "{wrong}");
        }
    }
}
