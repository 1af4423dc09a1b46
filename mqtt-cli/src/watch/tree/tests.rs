use super::*;

const LIMITS: Limits = Limits {
    topics: 100_000,
    bytes: 256 * 1024 * 1024,
    payload: 1000,
};

fn arrival<'a>(topic: &'a str, payload: &'a [u8]) -> Arrival<'a> {
    Arrival {
        topic,
        payload,
        qos: 0,
        retain: false,
        properties: Vec::new(),
    }
}

fn tree(topics: &[&str]) -> Tree {
    let mut tree = Tree::new(LIMITS, 1);
    for topic in topics {
        tree.add(&arrival(topic, b"x"), Duration::ZERO);
    }
    tree
}

/// The rows from the first to the last, and they are the same from the last to the first.
fn rows(tree: &Tree) -> Vec<String> {
    let mut down = Vec::new();
    let mut at = tree.first();
    while let Some(id) = at {
        down.push(id);
        at = tree.below(id);
    }
    let mut up = Vec::new();
    let mut at = tree.last();
    while let Some(id) = at {
        up.push(id);
        at = tree.above(id);
    }
    up.reverse();
    assert_eq!(down, up);
    for pair in down.windows(2) {
        assert!(tree.is_above(pair[0], pair[1]) && !tree.is_above(pair[1], pair[0]));
    }
    for id in &down {
        assert_eq!(tree.visible(*id), Some(*id));
    }
    down.into_iter().map(|id| tree.topic(id)).collect()
}

fn id(tree: &Tree, topic: &str) -> NodeId {
    tree.find(topic).unwrap()
}

/// What the tree should count, from what is in it.
fn books(tree: &Tree) -> usize {
    let node = |node: &Node| NODE_BYTES + 2 * node.name.len() + node.last().map_or(0, Last::bytes);
    tree.nodes.iter().skip(1).map(node).sum()
}

#[test]
fn branches_are_opened_and_folded() {
    let mut tree = tree(&["b/2/x", "b/1", "a", "b", "c/1/2/3", "/x", ""]);
    assert_eq!(rows(&tree), ["", "/x", "a", "b", "b/1", "b/2", "c", "c/1"]);
    let b = id(&tree, "b");
    tree.set_open(b, false);
    assert_eq!(rows(&tree), ["", "/x", "a", "b", "c", "c/1"]);
    assert_eq!(tree.visible(id(&tree, "b/2/x")), Some(b));
    tree.set_all_open(id(&tree, "c"), true);
    tree.set_all_open(b, true);
    assert_eq!(
        rows(&tree),
        [
            "", "/x", "a", "b", "b/1", "b/2", "b/2/x", "c", "c/1", "c/1/2", "c/1/2/3"
        ]
    );
    tree.set_all_open(ROOT, false);
    assert_eq!(rows(&tree), ["", "a", "b", "c"]);
    assert_eq!(rows(&Tree::new(LIMITS, 1)), [""; 0]);
}

#[test]
fn a_branch_counts_what_is_in_it() {
    let mut tree = tree(&["a/1", "a/1", "a/2/x", "a", "b"]);
    let figures = |tree: &Tree, topic| {
        let node = tree.node(id(tree, topic));
        (node.messages(), node.topics())
    };
    assert_eq!(figures(&tree, "a"), (4, 3));
    assert_eq!(figures(&tree, "a/2"), (1, 1));
    assert_eq!((tree.root().messages(), tree.root().topics()), (5, 4));
    assert!(
        tree.node(id(&tree, "a/2")).last().is_none(),
        "nothing came on it"
    );
    tree.add(&arrival("a/2", b"y"), Duration::from_secs(3));
    let node = tree.node(id(&tree, "a/2"));
    assert_eq!(node.last().unwrap().payload, b"y");
    assert_eq!(figures(&tree, "a"), (5, 4));
    let rate = tree.node(id(&tree, "a")).rate();
    assert_eq!(rate.at(Duration::from_secs(4)), Some(5.0 / 4.0));
}

#[test]
fn a_filter_shows_the_topics_that_contain_its_text() {
    let mut tree = tree(&["home/Kitchen/temp", "home/bath/temp", "attic/kitchen", "x"]);
    tree.narrow("kitchen");
    assert_eq!(
        rows(&tree),
        [
            "attic",
            "attic/kitchen",
            "home",
            "home/Kitchen",
            "home/Kitchen/temp"
        ]
    );
    assert_eq!(tree.narrowed(), Some(("kitchen", 2)));
    assert_eq!(tree.visible(id(&tree, "x")), None);
    // What comes later is narrowed too.
    for topic in ["home/kitchen2", "home/hall", "attic/kitchen", "attic"] {
        tree.add(&arrival(topic, b"x"), Duration::ZERO);
    }
    let home = id(&tree, "home");
    tree.set_open(home, false);
    assert_eq!(rows(&tree), ["attic", "attic/kitchen", "home"]);
    assert_eq!(tree.narrowed(), Some(("kitchen", 3)));
    // Behind the filter it is as it was.
    tree.narrow("");
    assert!(tree.is_open(home));
    assert_eq!(rows(&tree).len(), 8);
    tree.narrow("n/t");
    assert_eq!(rows(&tree), ["home", "home/Kitchen", "home/Kitchen/temp"]);
    tree.narrow("nothing");
    assert_eq!(rows(&tree), [""; 0]);
}

#[test]
fn what_is_kept_has_limits_and_what_is_left_out_is_counted() {
    let mut small = Tree::new(
        Limits {
            topics: 2,
            ..LIMITS
        },
        1,
    );
    for topic in ["a/1", "a/2", "a/3", "b", "a", "a/1", "a/3"] {
        small.add(&arrival(topic, b"x"), Duration::ZERO);
    }
    assert_eq!(rows(&small), ["a", "a/1", "a/2"]);
    assert_eq!((small.left_out(), small.root().messages()), (4, 7));
    assert_eq!(small.node(id(&small, "a")).messages(), 3);

    let bytes = Limits {
        bytes: 20 * NODE_BYTES,
        payload: 1000,
        ..LIMITS
    };
    let mut small = Tree::new(bytes, 1);
    let long = vec![7; 5000];
    small.add(&arrival("a", &long), Duration::ZERO);
    let last = small.node(id(&small, "a")).last().unwrap();
    assert_eq!((last.length, last.payload.len()), (5000, 1000));
    let name = "n".repeat(60_000);
    small.add(&arrival(&name, b"x"), Duration::ZERO);
    assert_eq!(
        small.left_out(),
        1,
        "a name may be too long for all there is"
    );
    for number in 0..100 {
        small.add(&arrival(&format!("t/{number}"), &long), Duration::ZERO);
    }
    assert!(small.left_out() > 80);
    assert!(small.bytes <= bytes.bytes, "{}", small.bytes);
    assert_eq!(small.bytes, books(&small));
    // What is smaller makes room.
    let before = small.bytes;
    small.add(&arrival("a", b""), Duration::ZERO);
    assert_eq!(small.bytes, before - 1000);
    assert_eq!(small.bytes, books(&small));
}

/// 65,536 levels are one topic all the same.
#[test]
fn levels_have_a_limit() {
    let topic = "/".repeat(65_535);
    let mut tree = Tree::new(LIMITS, 1);
    tree.add(&arrival(&topic, b"x"), Duration::ZERO);
    assert_eq!(tree.nodes.len(), 1 + MAX_LEVELS);
    let id = tree.find(&topic).unwrap();
    assert_eq!(tree.topic(id), topic);
}

/// What came while the view stood still is as if it had come at once.
#[test]
fn a_later_tree_adds_up() {
    let messages = ["a/1", "a/2", "b", "a/1", "c/1/2", "a", "b", "d", "e", "a/2"];
    let limits = Limits {
        topics: 6,
        ..LIMITS
    };
    let now = |index: usize| Duration::from_millis(700 * index as u64);
    let retain = |index: usize| [1, 3, 6].contains(&index);
    let add = |tree: &mut Tree, index: usize, before: Option<&Tree>| {
        let payload = if index == 6 {
            String::new()
        } else {
            format!("payload {index}")
        };
        let mut arrival = arrival(messages[index], payload.as_bytes());
        arrival.retain = retain(index);
        match before {
            Some(before) => tree.add_later(&arrival, now(index), before),
            None => tree.add(&arrival, now(index)),
        }
    };
    let figures = |tree: &Tree| {
        let node = |id: &NodeId| {
            let node = tree.node(*id);
            let last = node.last().map(|last| {
                (
                    last.payload.clone(),
                    last.is_retained,
                    last.messages,
                    last.at,
                    last.length,
                )
            });
            let rate = node.rate().at(Duration::from_secs(8));
            (tree.topic(*id), node.messages(), node.topics(), rate, last)
        };
        let mut ids: Vec<NodeId> = (0..tree.nodes.len() as u32).map(NodeId).collect();
        ids.sort_by_key(|id| tree.topic(*id));
        let nodes: Vec<_> = ids.iter().map(node).collect();
        assert_eq!(tree.bytes, books(tree));
        (nodes, tree.left_out)
    };
    let mut at_once = Tree::new(limits, 1);
    for index in 0..messages.len() {
        add(&mut at_once, index, None);
    }
    for cut in 0..=messages.len() {
        let mut first = Tree::new(limits, 1);
        (0..cut).for_each(|index| add(&mut first, index, None));
        let mut later = first.later();
        (cut..messages.len()).for_each(|index| add(&mut later, index, Some(&first)));
        first.merge(later);
        assert_eq!(figures(&first), figures(&at_once), "{cut}");
    }
}

/// At 10,000 topics: a message is looked for once on each level and counted once on each, and a
/// screen of rows costs as much as it has rows, wherever it is.
#[test]
fn the_cost_does_not_grow_with_the_topics() {
    let topic = |number: usize| format!("site/{}/device/{number}/temp", number % 10);
    let mut tree = Tree::new(LIMITS, 9);
    for number in 0..10_000 {
        tree.add(&arrival(&topic(number), b"21.5"), Duration::ZERO);
    }
    let visits = |tree: &Tree| tree.visits.take();
    visits(&tree);
    for number in 0..100_000 {
        let now = Duration::from_micros(200 * number as u64);
        tree.add(&arrival(&topic(number % 10_000), b"21.6"), now);
    }
    assert_eq!(tree.root().messages(), 110_000);
    assert_eq!(tree.root().rate().at(Duration::from_secs(20)), Some(5000.0));
    let a_message = visits(&tree) as f64 / 100_000.0;
    assert!(a_message <= 18.0, "{a_message}");
    let first = tree.first();
    let middle = tree.find("site/4/device/5004");
    for start in [first, middle, tree.above(tree.last().unwrap())] {
        visits(&tree);
        let mut at = start;
        for _ in 0..30 {
            at = at.and_then(|id| tree.below(id));
        }
        let a_screen = visits(&tree);
        assert!(a_screen <= 30 * 12, "{a_screen}");
    }
    tree.narrow("/5004/");
    visits(&tree);
    assert_eq!(rows(&tree).len(), 5);
    assert!(
        visits(&tree) < 200,
        "what the filter hides is not looked at"
    );
    visits(&tree);
    tree.add(&arrival("site/4/device/5004/new", b"x"), Duration::ZERO);
    let a_topic = visits(&tree);
    assert!(a_topic < 60, "{a_topic}");
}

/// A property takes memory whatever its text, and properties have no room beyond the limit.
#[test]
fn properties_are_within_the_limit() {
    let limits = Limits {
        bytes: 1024 * 1024,
        ..LIMITS
    };
    let mut tree = Tree::new(limits, 1);
    let properties = |count| vec![("user-property ".to_owned(), String::new()); count];
    let mut later = tree.later();
    let info = allocation_counter::measure(|| {
        for (count, number) in (0..2000).map(|number| (number / 1000 * 500, number % 1000)) {
            let topic = number.to_string();
            let mut arrival = arrival(&topic, b"x");
            arrival.properties = properties(count);
            tree.add(&arrival, Duration::ZERO);
            later.add(&arrival, Duration::ZERO);
        }
    });
    let held = usize::try_from(info.bytes_current).unwrap();
    assert!(held <= 2 * limits.bytes, "{held}");
    for tree in [&tree, &later] {
        assert!(tree.bytes <= limits.bytes, "{}", tree.bytes);
        assert_eq!(tree.bytes, books(tree));
        assert_eq!(tree.node(id(tree, "0")).last().unwrap().left_out, 0);
        let last = tree.node(id(tree, "900")).last().unwrap();
        assert_eq!((last.properties.len(), last.left_out), (0, 500));
    }
    tree.merge(later);
    assert!(tree.bytes <= limits.bytes, "{}", tree.bytes);
    assert_eq!(tree.bytes, books(&tree));
    // What is smaller makes room.
    tree.add(&arrival("0", b""), Duration::ZERO);
    let mut arrival = arrival("900", b"");
    arrival.properties = properties(400);
    tree.add(&arrival, Duration::ZERO);
    assert_eq!(tree.node(id(&tree, "900")).last().unwrap().left_out, 0);
}

/// A message on a known topic takes no memory, and what a row takes is not more than is counted.
#[test]
fn memory_is_what_the_books_say() {
    let topics: Vec<String> = (0..10_000)
        .map(|number| format!("a/{}/{number}", number % 100))
        .collect();
    let mut tree = Tree::new(LIMITS, 1);
    let info = allocation_counter::measure(|| {
        for topic in &topics {
            tree.add(&arrival(topic, b"21.5"), Duration::ZERO);
        }
    });
    let held = usize::try_from(info.bytes_current).unwrap();
    assert!(held <= tree.bytes, "{held} of {}", tree.bytes);
    let info = allocation_counter::measure(|| {
        for topic in &topics {
            tree.add(&arrival(topic, b"21.6"), Duration::ZERO);
        }
    });
    assert_eq!(info.count_total, 0);
}
