//! The timeline: a whole run as one page that needs nothing else, for whoever must understand it.
//!
//! The recording is embedded as data; the scripts beside this file draw it. Reading order: `model.js`
//! says what the lines mean, `filter.js` which are shown, `scale.js` where they stand; `draw.js`,
//! `arrows.js` and `overview.js` draw them, `list.js` lists them; `head.js` and `legend.js` put things
//! in words; `app.js` and `hands.js` are what changes while somebody looks.

use serde::Serialize;

use crate::recording::{Kind, Recording};

const PAGE: &str = include_str!("timeline/page.html");
const STYLE: &str = include_str!("timeline/style.css");
const SCRIPT: &str = concat!(
    include_str!("timeline/model.js"),
    include_str!("timeline/filter.js"),
    include_str!("timeline/scale.js"),
    include_str!("timeline/draw.js"),
    include_str!("timeline/arrows.js"),
    include_str!("timeline/overview.js"),
    include_str!("timeline/list.js"),
    include_str!("timeline/head.js"),
    include_str!("timeline/legend.js"),
    include_str!("timeline/app.js"),
    include_str!("timeline/hands.js"),
);

/// In the order of the legend.
const KINDS: [Kind; 12] = [
    Kind::Send,
    Kind::Receive,
    Kind::Write,
    Kind::Synced,
    Kind::Asked,
    Kind::Answered,
    Kind::Client,
    Kind::Event,
    Kind::Dies,
    Kind::Starts,
    Kind::Fault,
    Kind::World,
];

/// The page that shows `recording`.
pub fn page(recording: &Recording) -> String {
    let marks = KINDS.map(|kind| (kind, kind.mark()));
    fill(&[
        ("{{style}}", STYLE),
        ("{{marks}}", &embedded(&marks)),
        ("{{recording}}", &embedded(recording)),
        ("{{script}}", SCRIPT),
    ])
}

/// The page with each marker replaced once, in order. What was filled in is not searched again, so
/// that no recording can hold a marker.
fn fill(parts: &[(&str, &str)]) -> String {
    let mut page =
        String::with_capacity(PAGE.len() + parts.iter().map(|(_, text)| text.len()).sum::<usize>());
    let mut rest = PAGE;
    for (marker, text) in parts {
        let (before, after) = rest.split_once(marker).expect("page_has_its_markers");
        page.push_str(before);
        page.push_str(text);
        rest = after;
    }
    page.push_str(rest);
    page
}

/// JSON that cannot end the element it stands in: a run may hold any text. `<` occurs only within
/// strings, where its escape means the same.
fn embedded(data: &impl Serialize) -> String {
    serde_json::to_string(data).expect("recordings_are_json").replace('<', "\\u003c")
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;
    use crate::recording::{Line, State};

    const HOSTILE: &str = "</script><img src=x onerror=alert(1)><!-- {{script}} <script>";

    fn line(number: u64, node: u64, kind: Kind, text: &str) -> Line {
        let text = text.to_owned();
        Line { group: 1, text, ..Line::new(number, number * 1_000_000, node, kind) }
    }

    fn state(role: char, term: u64, head: u64, commit: u64) -> Option<State> {
        Some(State { role, term, head, commit, applied: commit })
    }

    /// An election, a write, a lost message, a crash and two leaders.
    fn small() -> Recording {
        let client = |number, text: &str| Line {
            client: Some(1),
            op: Some(7),
            actor: Some(HOSTILE.to_owned()),
            ..line(number, 0, Kind::Client, text)
        };
        let message = |number, node, kind, text: &str, message| Line {
            message: Some(message),
            to: (kind == Kind::Send).then_some(3 - node),
            ..line(number, node, kind, text)
        };
        let told = |number, node, text: &str, state| Line {
            state,
            ..line(number, node, Kind::Event, text)
        };
        let lines = vec![
            line(1, 1, Kind::Starts, "starts with 40 of 40 bytes of log"),
            line(2, 2, Kind::Starts, "starts with 40 of 40 bytes of log"),
            line(3, 3, Kind::Starts, "starts with 40 of 40 bytes of log"),
            message(4, 1, Kind::Send, "to N2 g1 asks for a vote: term 1 candidate N1", 1),
            told(5, 1, "group 1 role Candidate term 1", state('?', 1, 1, 0)),
            message(6, 2, Kind::Receive, "from N1 g1 asks for a vote: term 1 candidate N1", 1),
            told(7, 1, "group 1 role Leader term 1", state('/', 1, 2, 0)),
            client(8, HOSTILE),
            line(9, 1, Kind::Write, "write 1 of 48 bytes at 40"),
            message(10, 1, Kind::Send, "to N2 g1 append 1.1..1.1", 2),
            line(11, 1, Kind::Synced, "write 1 is durable"),
            told(12, 1, "group 1 applied 1.1", state('/', 1, 2, 2)),
            client(13, "written, version 1"),
            line(14, 1, Kind::Dies, "dies; 88 bytes of its log were synced, 88 are left"),
            told(15, 2, "group 1 role Leader term 1", state('/', 1, 2, 0)),
            line(16, 0, Kind::World, "one_leader_per_term: N1 and N2 lead in term 1"),
        ];
        Recording {
            seed: "0x1".to_owned(),
            commit: "0000000 (clean)".to_owned(),
            verdict: "safety one_leader_per_term".to_owned(),
            explanation: HOSTILE.to_owned(),
            world: vec!["nodes 3, clients 1".to_owned(), HOSTILE.to_owned()],
            faults: "loss 1, crash 1".to_owned(),
            replay: "cargo run -p understudy-sim -- run --seed 0x1".to_owned(),
            nodes: 3,
            groups: vec![HOSTILE.to_owned()],
            lines,
        }
    }

    /// What a browser takes for the text of the element that begins with `opening`.
    fn element<'a>(page: &'a str, opening: &str) -> &'a str {
        let (_, inside) = page.split_once(opening).expect("the element is there");
        inside.split_once("</script>").expect("the element ends").0
    }

    #[test]
    fn the_recording_survives() {
        let page = page(&small());
        let data = element(&page, "<script type=\"application/json\" id=\"recording\">");
        let read: Value = serde_json::from_str(data).expect("it is JSON");
        assert_eq!(read, serde_json::to_value(small()).expect("it is data"));
        assert_eq!(read["lines"][7]["text"], HOSTILE);
    }

    #[test]
    fn hostile_text_is_no_markup() {
        let page = page(&small());
        assert!(!page.contains("<img"));
        assert!(!page.contains("<!-- {{"));
        // Two for data and one that runs, as in the page before anything was filled in.
        assert_eq!(page.matches("<script").count(), PAGE.matches("<script").count());
        assert_eq!(page.matches("</script").count(), PAGE.matches("</script").count());
        assert_eq!(page.matches(SCRIPT).count(), 1);
    }

    /// The page's own text, without a recording: what a run says may name any address.
    #[test]
    fn nothing_is_fetched_and_no_text_becomes_markup() {
        let own = [PAGE, STYLE, SCRIPT].concat();
        for word in ["http://", "https://", "src=", "href=", "url(", "@import", "import(", "fetch("]
        {
            assert!(!own.contains(word), "{word}");
        }
        for word in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!SCRIPT.contains(word), "{word}");
        }
        assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
        assert!(!STYLE.contains('<'));
        assert!(PAGE.contains("default-src 'none'"));
    }

    #[test]
    fn every_kind_has_its_mark_and_its_words() {
        let page = page(&small());
        let data = element(&page, "<script type=\"application/json\" id=\"marks\">");
        let marks: Vec<(String, char)> = serde_json::from_str(data).expect("it is JSON");
        assert_eq!(marks.len(), KINDS.len());
        for ((name, mark), kind) in marks.iter().zip(KINDS) {
            assert_eq!(*mark, kind.mark());
            assert!(SCRIPT.contains(&format!("  {name}: {{ family: ")), "{name}");
        }
    }

    #[test]
    fn every_element_that_the_scripts_seek_is_on_the_page() {
        for sought in SCRIPT.split("byId(\"").skip(1) {
            let id = sought.split('"').next().unwrap_or_default();
            assert!(PAGE.contains(&format!("id=\"{id}\"")), "{id}");
        }
    }

    #[test]
    fn an_empty_recording_is_a_page_too() {
        let empty = Recording { lines: Vec::new(), verdict: String::new(), ..small() };
        assert!(page(&empty).ends_with("</html>\n"));
    }
}
