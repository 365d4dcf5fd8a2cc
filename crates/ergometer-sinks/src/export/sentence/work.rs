//! A [`Work`] that a paper cites.

/// A work, as a reader of Markdown and one of LaTeX wants it.
#[derive(Debug)]
pub(super) struct Work {
    /// What it is cited by.
    pub(super) key: &'static str,
    /// Author, year, title, venue.
    pub(super) text: &'static str,
    /// Its BibTeX entry.
    pub(super) bibtex: &'static str,
}

pub(super) const ERGOMETER: Work = Work {
    key: "ergometer",
    text: concat!(
        "ergometer, version ",
        env!("CARGO_PKG_VERSION"),
        ". <",
        env!("CARGO_PKG_REPOSITORY"),
        ">"
    ),
    bibtex: concat!(
        "@misc{ergometer,\n  title = {ergometer},\n  note = {Version ",
        env!("CARGO_PKG_VERSION"),
        "},\n  howpublished = {\\url{",
        env!("CARGO_PKG_REPOSITORY"),
        "}}\n}"
    ),
};

pub(super) const GUM: Work = Work {
    key: "jcgm100",
    text: "Joint Committee for Guides in Metrology (2008). Evaluation of measurement data: Guide to the expression of uncertainty in measurement. JCGM 100:2008.",
    bibtex: "@techreport{jcgm100,
  author = {{Joint Committee for Guides in Metrology}},
  title = {Evaluation of measurement data: Guide to the expression of uncertainty in measurement},
  institution = {BIPM},
  number = {JCGM 100:2008},
  year = {2008}
}",
};

pub(super) const STRUBELL: Work = Work {
    key: "strubell2019",
    text: "Strubell, E., Ganesh, A., McCallum, A. (2019). Energy and Policy Considerations for Deep Learning in NLP. ACL 2019.",
    bibtex: "@inproceedings{strubell2019,
  author = {Strubell, Emma and Ganesh, Ananya and McCallum, Andrew},
  title = {Energy and Policy Considerations for Deep Learning in {NLP}},
  booktitle = {Proceedings of the 57th Annual Meeting of the Association for Computational Linguistics},
  year = {2019}
}",
};

pub(super) const EMBER: Work = Work {
    key: "ember2026",
    text: "Ember (2026), with major processing by Our World in Data. Carbon intensity of electricity generation. CC BY 4.0. <https://ourworldindata.org/grapher/carbon-intensity-electricity>",
    bibtex: "@misc{ember2026,
  author = {{Ember}},
  title = {Carbon intensity of electricity generation},
  note = {With major processing by Our World in Data; CC BY 4.0},
  howpublished = {\\url{https://ourworldindata.org/grapher/carbon-intensity-electricity}},
  year = {2026}
}",
};

pub(super) const NVML: Work = Work {
    key: "yang2023",
    text: "Yang, Z., Adamek, K., Armour, W. (2023). Part-time Power Measurements: nvidia-smi's Lack of Attention. arXiv 2312.02741.",
    bibtex: "@misc{yang2023,
  author = {Yang, Zeyu and Adamek, Karel and Armour, Wesley},
  title = {Part-time Power Measurements: nvidia-smi's Lack of Attention},
  eprint = {2312.02741},
  archivePrefix = {arXiv},
  year = {2023}
}",
};

pub(super) const RAPL: Work = Work {
    key: "khan2018",
    text: "Khan, K. N., Hirki, M., Niemi, T., Nurminen, J. K., Ou, Z. (2018). RAPL in Action: Experiences in Using RAPL for Power Measurements. ACM Transactions on Modeling and Performance Evaluation of Computing Systems 3(2).",
    bibtex: "@article{khan2018,
  author = {Khan, Kashif Nizam and Hirki, Mikael and Niemi, Tapio and Nurminen, Jukka K. and Ou, Zhonghong},
  title = {{RAPL} in Action: Experiences in Using {RAPL} for Power Measurements},
  journal = {ACM Transactions on Modeling and Performance Evaluation of Computing Systems},
  volume = {3},
  number = {2},
  year = {2018}
}",
};
