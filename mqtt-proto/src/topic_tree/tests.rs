use super::*;
use alloc::string::String;
use std::format;

fn filter(text: &str) -> TopicFilter {
    TopicFilter::new(text).unwrap()
}

#[test]
#[cfg_attr(miri, ignore = "too slow: 20 orders of all filters")]
fn it_finds_what_the_filters_match() {
    let filters = [
        "#", "+", "+/+", "a/#", "a/+", "a/b", "a/b/#", "/", "/+", "+/b/+", "a//c", "$SYS/#",
        "$SYS/+", "a/b/", "+/+/+", "+/#",
    ];
    let topics = [
        "a", "a/b", "a/b/c", "/", "/b", "a//c", "$SYS", "$SYS/x", "a/b/", "b", "$SYS/x/y", "x/b/",
        "",
    ];
    for seed in 0..20 {
        let mut tree = TopicTree::with_seed(seed);
        for (i, text) in filters.iter().enumerate() {
            assert_eq!(tree.insert(&filter(text), i), None);
        }
        assert_eq!(tree.len(), filters.len());
        for topic in topics {
            let expected: Vec<_> = (0..filters.len())
                .filter(|&i| filter(filters[i]).matches(topic))
                .collect();
            let mut found: Vec<_> = tree.matches(topic).copied().collect();
            found.sort_unstable();
            assert_eq!(found, expected, "{topic}");
        }
        for (i, text) in filters.iter().enumerate() {
            assert_eq!(tree.get(&filter(text)), Some(&i));
            assert_eq!(tree.remove(&filter(text)), Some(i));
            assert_eq!(tree.remove(&filter(text)), None);
        }
        assert!(tree.is_empty() && tree.nodes.is_empty());
    }
}

/// Filters come and go in any order; after each step the tree finds what comparing one by one
/// does.
#[test]
#[cfg_attr(miri, ignore = "too slow: 4,000 steps")]
fn it_agrees_with_comparing_one_by_one() {
    let mut random = 1_u64;
    let mut next = |n: u64| {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % n
    };
    let levels = ["a", "b", "", "+", "$x", "longer than eight bytes", "+", "c"];
    let mut tree = TopicTree::new();
    let mut list: Vec<TopicFilter> = Vec::new();
    for step in 0..4_000 {
        let mut text = String::new();
        for i in 0..=next(4) {
            text.push_str(if i > 0 { "/" } else { "" });
            text.push_str(levels[next(8) as usize]);
        }
        let topic = text.replace('+', "a");
        if next(4) == 0 {
            text.push_str("/#");
        }
        if let Ok(filter) = TopicFilter::new(text) {
            let known = list.iter().position(|other| *other == filter);
            match known {
                Some(i) if next(3) > 0 => {
                    assert_eq!(tree.remove(&filter).as_ref(), Some(&filter));
                    list.swap_remove(i);
                }
                _ => {
                    assert_eq!(
                        tree.insert(&filter, filter.clone()).is_some(),
                        known.is_some()
                    );
                    if known.is_none() {
                        list.push(filter);
                    }
                }
            }
        }
        let mut expected: Vec<_> = list
            .iter()
            .filter(|filter| filter.matches(&topic))
            .collect();
        let mut found: Vec<_> = tree.matches(&topic).collect();
        expected.sort();
        found.sort();
        assert_eq!(found, expected, "step {step}: {topic}");
        assert_eq!(tree.len(), list.len());
    }
}

#[test]
fn share_names_are_left_off() {
    let mut tree = TopicTree::new();
    tree.insert(&filter("$share/g/a/+"), 1);
    assert_eq!(tree.insert(&filter("a/+"), 2), Some(1));
    assert_eq!(tree.matches("a/b").copied().collect::<Vec<_>>(), [2]);
    tree.for_each_match_mut("a/b", |value| *value = 3);
    assert_eq!(tree.get_mut(&filter("$share/h/a/+")), Some(&mut 3));
    assert_eq!(*tree.get_or_insert_with(&filter("a/+"), || 4), 3);
}

/// A filter may have 65,535 levels: where the tree was walked by recursion, that was the end of
/// the stack.
#[test]
#[cfg_attr(miri, ignore = "too slow: a filter of 65,535 bytes")]
fn no_filter_is_too_deep() {
    let mut tree = TopicTree::new();
    for text in ["/".repeat(65_534), "+/".repeat(32_767)] {
        tree.insert(&filter(&text), text.len());
    }
    assert_eq!(tree.matches(&"/".repeat(65_534)).count(), 1);
    assert_eq!(tree.matches(&"a/".repeat(32_767)).count(), 1);
    drop(tree.clone());
    for text in ["/".repeat(65_534), "+/".repeat(32_767)] {
        tree.remove(&filter(&text));
    }
    assert!(tree.nodes.is_empty());
}

/// More levels with two ways than are kept without allocating.
#[test]
#[cfg_attr(miri, ignore = "too slow: 4,096 filters")]
fn all_ways_are_tried() {
    let mut tree = TopicTree::new();
    let depth = 12;
    for ways in 0_u32..1 << depth {
        let levels: Vec<_> = (0..depth)
            .map(|i| if ways >> i & 1 == 0 { "+" } else { "a" })
            .collect();
        tree.insert(&filter(&levels.join("/")), ways);
    }
    assert_eq!(tree.matches(&["a"; 12].join("/")).count(), 1 << depth);
    assert_eq!(tree.matches(&["b"; 12].join("/")).count(), 1);
}

/// How many nodes are looked at for a topic.
fn cost(tree: &TopicTree<usize>, topic: &str) -> usize {
    let (mut node, mut cost) = (ROOT, 0);
    for level in topic.as_bytes().split(|&b| b == b'/') {
        let child = tree.child(node, level);
        cost += tree.edges.probes(node, level, |id| id == child);
        node = child;
        if node == ROOT {
            break;
        }
    }
    cost
}

#[test]
#[cfg_attr(miri, ignore = "too slow: 10,000 filters")]
fn the_cost_does_not_depend_on_the_number_of_filters() {
    let average = |count: usize| {
        let mut tree = TopicTree::new();
        for i in 0..count {
            tree.insert(&filter(&format!("building/{}/sensor-{i}/+", i % 100)), i);
        }
        let topics = (0..count).map(|i| format!("building/{}/sensor-{i}/temp", i % 100));
        topics.map(|topic| cost(&tree, &topic)).sum::<usize>() as f64 / count as f64
    };
    let one = average(1);
    for count in [1_000, 10_000] {
        assert!(
            average(count) < 2.0 * one,
            "{count}: {} for {one}",
            average(count)
        );
    }
}
