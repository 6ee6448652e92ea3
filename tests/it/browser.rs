//! The sample web app of `rolemint dev`, used by people in headless Chromium.

use crate::harness::binary::Dev;
use crate::harness::{Need, met, node, run};

#[test]
fn people_use_the_sample_web_app() {
    if !met(&[Need::Node, Need::Chromium]) {
        return;
    }
    run(async {
        let dev = Dev::start();
        // The script checks what each sees, step by step; here is what matters most, once more.
        let saw = node::browser(&dev.base).await;
        let dana = saw["dana"]["permissions"].as_array().unwrap();
        assert_eq!(dana.len(), 2, "{dana:?}");
        let ada = saw["ada"]["permissions"].as_array().unwrap();
        assert!(ada.len() > dana.len(), "{ada:?}");
        assert!(saw["nora"]["refused"].as_str().is_some_and(|text| !text.is_empty()));
        assert!(dev.terminate().success());
    });
}
