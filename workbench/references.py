"""The papers behind rules, gates, learners and packages, as BibTeX has them."""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True)
class Reference:
    """One entry. authors: "Last, First and ..."; `others` ends a long list. eprint: on arXiv. found: what the Source
    line of a docstring says where the paper is not on arXiv. package: what is imported of the package that it is of."""

    key: str
    authors: str
    title: str
    year: int
    eprint: str = ""
    journal: str = ""
    booktitle: str = ""
    publisher: str = ""
    volume: str = ""
    pages: str = ""
    doi: str = ""
    url: str = ""
    found: str = ""
    package: str = ""

    def bibtex(self) -> str:
        """The entry; titles keep their capitals."""
        kinds = {"article": self.journal, "inproceedings": self.booktitle, "book": self.publisher}
        kind = next((kind for kind, where in kinds.items() if where), "misc")
        rows = [("author", self.authors), ("title", f"{{{self.title}}}"), ("year", str(self.year))]
        known = ("key", "authors", "title", "year", "found", "package")
        rows += [(field.name, getattr(self, field.name)) for field in fields(self) if field.name not in known]
        rows += [("archivePrefix", "arXiv" if self.eprint else "")]
        lines = [f"  {name} = {{{value}}}," for name, value in rows if value]
        return "\n".join([f"@{kind}{{{self.key},", *lines, "}"])


def _arxiv(key: str, eprint: str, authors: str, title: str) -> Reference:
    return Reference(key, authors, title, 2000 + int(eprint[:2]), eprint=eprint)


REFERENCES = (
    # rules and gates
    _arxiv("shi2025adarft", "2504.05520", "Shi, Taiwei and Wu, Yiyang and Song, Linxin and Zhou, Tianyi and Zhao, "
           "Jieyu", "Efficient Reinforcement Finetuning via Adaptive Curriculum Learning"),
    _arxiv("yu2025dapo", "2503.14476", "Yu, Qiying and others",
           "DAPO: An Open-Source LLM Reinforcement Learning System at Scale"),
    _arxiv("jiang2025vcrl", "2509.19803", "Jiang, Guochao and Feng, Wenfeng and Quan, Guofeng and Hao, Chuzhan and "
           "Zhang, Yuewei and Liu, Guohua and Wang, Hao",
           "VCRL: Variance-based Curriculum Reinforcement Learning for Large Language Models"),
    _arxiv("bae2025online", "2504.03380", "Bae, Sanghwan and Hong, Jiwoo and Lee, Min Young and Kim, Hanbyul and Nam, "
           "JeongYeon and Kwak, Donghyun",
           "Online Difficulty Filtering for Reasoning Oriented Reinforcement Learning"),
    _arxiv("zhang2025speed", "2506.09016", "Zhang, Ruiqi and Arora, Daman and Mei, Song and Zanette, Andrea",
           "SPEED-RL: Faster Training of Reasoning Models via Online Curriculum Learning"),
    _arxiv("chen2025sec", "2505.14970", "Chen, Xiaoyin and Lu, Jiarui and Kim, Minsu and Zhang, Dinghuai and Tang, "
           "Jian and Pich{\\'e}, Alexandre and Gontier, Nicolas and Bengio, Yoshua and Kamalloo, Ehsan",
           "Self-Evolving Curriculum for LLM Reasoning"),
    _arxiv("wang2025dump", "2504.09710", "Wang, Zhenting and Cui, Guofeng and Li, Yu-Jhe and Wan, Kun and Zhao, "
           "Wentian", "DUMP: Automated Distribution-Level Curriculum Learning for RL-based LLM Post-training"),
    _arxiv("portelas2019alpgmm", "1910.07224", "Portelas, R{\\'e}my and Colas, C{\\'e}dric and Hofmann, Katja and "
           "Oudeyer, Pierre-Yves",
           "Teacher Algorithms for Curriculum Learning of Deep RL in Continuously Parameterized Environments"),
    _arxiv("matiisen2017tscl", "1707.00183", "Matiisen, Tambet and Oliver, Avital and Cohen, Taco and Schulman, John",
           "Teacher-Student Curriculum Learning"),
    _arxiv("zeng2025rlve", "2511.07317", "Zeng, Zhiyuan and Ivison, Hamish and Wang, Yiping and Yuan, Lifan and Li, "
           "Shuyue Stella and Ye, Zhuorui and Li, Siting and He, Jacqueline and Zhou, Runlong and Chen, Tong and "
           "Zhao, Chenyang and Tsvetkov, Yulia and Du, Simon Shaolei and Jaques, Natasha and Peng, Hao and Koh, Pang "
           "Wei and Hajishirzi, Hannaneh",
           "RLVE: Scaling Up Reinforcement Learning for Language Models with Adaptive Verifiable Environments"),
    _arxiv("zheng2025greso", "2506.02177", "Zheng, Haizhong and Zhou, Yang and Bartoldson, Brian R. and Kailkhura, "
           "Bhavya and Lai, Fan and Zhao, Jiawei and Chen, Beidi",
           "Act Only When It Pays: Efficient Reinforcement Learning for LLM Reasoning via Selective Rollouts"),
    _arxiv("jiang2020plr", "2010.03934", "Jiang, Minqi and Grefenstette, Edward and Rockt{\\\"a}schel, Tim",
           "Prioritized Level Replay"),
    _arxiv("kanitscheider2021multitask", "2106.14876", "Kanitscheider, Ingmar and Huizinga, Joost and Farhi, David "
           "and Guss, William Hebgen and Houghton, Brandon and Sampedro, Raul and Zhokhov, Peter and Baker, Bowen "
           "and Ecoffet, Adrien and Tang, Jie and Klimov, Oleg and Clune, Jeff",
           "Multi-task Curriculum Learning in a Complex, Visual, Hard-exploration Domain: Minecraft"),
    _arxiv("gao2025pcl", "2510.01135", "Gao, Zhaolin and Kim, Joongwon and Sun, Wen and Joachims, Thorsten and Wang, "
           "Sid and Pang, Richard Yuanzhe and Tan, Liang",
           "Prompt Curriculum Learning for Efficient LLM Post-Training"),
    _arxiv("tzannetos2023procurl", "2304.12877", "Tzannetos, Georgios and Ribeiro, B{\\'a}rbara Gomes and Kamalaruban, "
           "Parameswaran and Singla, Adish", "Proximal Curriculum for Reinforcement Learning Agents"),
    _arxiv("kimi2025k15", "2501.12599", "{Kimi Team}", "Kimi k1.5: Scaling Reinforcement Learning with LLMs"),
    _arxiv("parashar2025e2h", "2506.06632", "Parashar, Shubham and Gui, Shurui and Li, Xiner and Ling, Hongyi and "
           "Vemuri, Sushil and Olson, Blake and Li, Eric and Zhang, Yu and Caverlee, James and Kalathil, Dileep and "
           "Ji, Shuiwang", "Curriculum Reinforcement Learning from Easy to Hard Tasks Improves LLM Reasoning"),
    _arxiv("zeng2025cures", "2510.01037", "Zeng, Yongcheng and Sun, Zexu and Ji, Bokai and Min, Erxue and Cai, "
           "Hengyi and Wang, Shuaiqiang and Yin, Dawei and Zhang, Haifeng and Chen, Xu and Wang, Jun",
           "CurES: From Gradient Analysis to Efficient Curriculum Learning for Reasoning LLMs"),
    _arxiv("shen2025bots", "2510.26374", "Shen, Qianli and Chen, Daoyuan and Huang, Yilun and Ling, Zhenqing and Li, "
           "Yaliang and Ding, Bolin and Zhou, Jingren",
           "BOTS: A Unified Framework for Bayesian Online Task Selection in LLM Reinforcement Finetuning"),
    _arxiv("khatri2025scalerl", "2510.13786", "Khatri, Devvrit and others",
           "The Art of Scaling Reinforcement Learning Compute for LLMs"),
    _arxiv("sun2025dots", "2506.05316", "Sun, Yifan and Shen, Jingyan and Wang, Yibin and Chen, Tianyu and Wang, "
           "Zhendong and Zhou, Mingyuan and Zhang, Huan", "Improving Data Efficiency for LLM Reinforcement "
           "Fine-tuning Through Difficulty-targeted Online Data Selection and Rollout Replay"),
    _arxiv("qu2025mopps", "2507.04632",
           "Qu, Yun and Wang, Qi and Mao, Yixiu and Hu, Vincent Tao and Ommer, Bj{\\\"o}rn and Ji, Xiangyang",
           "Can Prompt Difficulty be Online Predicted for Accelerating RL Finetuning of Reasoning Models?"),
    _arxiv("rutherford2024sfl", "2408.15099", "Rutherford, Alexander and Beukman, Michael and Willi, Timon and "
           "Lacerda, Bruno and Hawes, Nick and Foerster, Jakob",
           "No Regrets: Investigating and Improving Regret Approximations for Curriculum Discovery"),
    _arxiv("zhang2023omni", "2306.01711", "Zhang, Jenny and Lehman, Joel and Stanley, Kenneth and Clune, Jeff",
           "OMNI: Open-endedness via Models of Human Notions of Interestingness"),
    _arxiv("foster2025frontier", "2502.12272",
           "Foster, Thomas and Sims, Anya and Forkel, Johannes and Fellows, Mattie and Foerster, Jakob",
           "Learning to Reason at the Frontier of Learnability"),
    _arxiv("nvidia2025nemotron", "2512.20848", "{NVIDIA}", "Nemotron 3 Nano: Open, Efficient Mixture-of-Experts Hybrid "
           "Mamba-Transformer Model for Agentic Reasoning"),
    # learners and gradient estimators
    _arxiv("davis2025objective", "2510.13651", "Davis, Damek and Recht, Benjamin",
           "What Is the Objective of Reasoning with Reinforcement Learning?"),
    _arxiv("huang2026competence", "2602.14872", "Huang, Yu and Wen, Zixin and Chi, Yuejie and Wei, Yuting and Singh, "
           "Aarti and Liang, Yingbin and Chen, Yuxin", "On the Learning Dynamics of RLVR at the Edge of Competence"),
    _arxiv("romac2021teachmyagent", "2103.09815", "Romac, Cl{\\'e}ment and Portelas, R{\\'e}my and Hofmann, Katja and "
           "Oudeyer, Pierre-Yves", "TeachMyAgent: a Benchmark for Automatic Curriculum Learning in Deep RL"),
    _arxiv("schulman2017ppo", "1707.06347", "Schulman, John and Wolski, Filip and Dhariwal, Prafulla and Radford, Alec "
           "and Klimov, Oleg", "Proximal Policy Optimization Algorithms"),
    _arxiv("jacot2018ntk", "1806.07572", "Jacot, Arthur and Gabriel, Franck and Hongler, Cl{\\'e}ment",
           "Neural Tangent Kernel: Convergence and Generalization in Neural Networks"),
    _arxiv("mei2020softmax", "2005.06392", "Mei, Jincheng and Xiao, Chenjun and Szepesv{\\'a}ri, Csaba and Schuurmans, "
           "Dale", "On the Global Convergence Rates of Softmax Policy Gradient Methods"),
    _arxiv("ahmadian2024rloo", "2402.14740", "Ahmadian, Arash and Cremer, Chris and Gall{\\'e}, Matthias and Fadaee, "
           "Marzieh and Kreutzer, Julia and Pietquin, Olivier and {\\\"U}st{\\\"u}n, Ahmet and Hooker, Sara",
           "Back to Basics: Revisiting REINFORCE Style Optimization for Learning from Human Feedback in LLMs"),
    _arxiv("liu2025drgrpo", "2503.20783", "Liu, Zichen and Chen, Changyu and Li, Wenjun and Qi, Penghui and Pang, "
           "Tianyu and Du, Chao and Lee, Wee Sun and Lin, Min",
           "Understanding R1-Zero-Like Training: A Critical Perspective"),
    _arxiv("shao2024deepseekmath", "2402.03300", "Shao, Zhihong and others",
           "DeepSeekMath: Pushing the Limits of Mathematical Reasoning in Open Language Models"),
    _arxiv("bay2026identity", "2607.00152", "Bay, Yong Yi and Yearick, Kathleen A.",
           "GRPO, Dr. GRPO, and DAPO Are Three Operations on One Number: The Group-Standard-Deviation Identity"),
    Reference("an2025polaris", "An, Chenxin and Xie, Zhihui and Li, Xiaonan and Li, Lei and Zhang, Jun and Gong, "
              "Shansan and Zhong, Ming and Xu, Jingjing and Qiu, Xipeng and Wang, Mingxuan and Kong, Lingpeng",
              "POLARIS: A Post-Training Recipe for Scaling Reinforcement Learning on Advanced Reasoning Models", 2025,
              url="https://hkunlp.github.io/blog/2025/Polaris", found="An et al. 2025, Polaris"),
    Reference("bengio2009curriculum", "Bengio, Yoshua and Louradour, J{\\'e}r{\\^o}me and Collobert, Ronan and Weston, "
              "Jason", "Curriculum Learning", 2009, booktitle="International Conference on Machine Learning",
              doi="10.1145/1553374.1553380", found="Bengio et al. 2009"),
    Reference("corbett1995tracing", "Corbett, Albert T. and Anderson, John R.", "Knowledge Tracing: Modeling the "
              "Acquisition of Procedural Knowledge", 1995, journal="User Modeling and User-Adapted Interaction",
              volume="4", pages="253--278", doi="10.1007/BF01099821", found="Corbett & Anderson 1995"),
    Reference("barton1981upper", "Barton, Mark A. and Lord, Frederic M.", "An Upper Asymptote for the Three-Parameter "
              "Logistic Item-Response Model", 1981, journal="ETS Research Report Series",
              doi="10.1002/j.2333-8504.1981.tb01255.x", found="Barton and Lord 1981"),
    Reference("reckase2009multidimensional", "Reckase, Mark D.", "Multidimensional Item Response Theory", 2009,
              publisher="Springer", doi="10.1007/978-0-387-89976-3", found="Reckase 2009"),
    # statistics and packages
    _arxiv("agarwal2021precipice", "2108.13264", "Agarwal, Rishabh and Schwarzer, Max and Castro, Pablo Samuel and "
           "Courville, Aaron and Bellemare, Marc G.",
           "Deep Reinforcement Learning at the Edge of the Statistical Precipice"),
    Reference("harris2020numpy", "Harris, Charles R. and Millman, K. Jarrod and van der Walt, St{\\'e}fan J. and "
              "others", "Array Programming with NumPy", 2020, journal="Nature", volume="585", pages="357--362",
              doi="10.1038/s41586-020-2649-2", package="numpy"),
    Reference("lam2015numba", "Lam, Siu Kwan and Pitrou, Antoine and Seibert, Stanley", "Numba: A LLVM-based Python "
              "JIT Compiler", 2015, booktitle="Workshop on the LLVM Compiler Infrastructure in HPC",
              doi="10.1145/2833157.2833162", package="numba"),
    Reference("virtanen2020scipy", "Virtanen, Pauli and Gommers, Ralf and Oliphant, Travis E. and others", "SciPy 1.0: "
              "Fundamental Algorithms for Scientific Computing in Python", 2020, journal="Nature Methods", volume="17",
              pages="261--272", doi="10.1038/s41592-019-0686-2", package="scipy"),
    Reference("mckinney2010pandas", "McKinney, Wes", "Data Structures for Statistical Computing in Python", 2010,
              booktitle="Python in Science Conference", pages="56--61", doi="10.25080/Majora-92bf1922-00a",
              package="pandas"),
    Reference("hunter2007matplotlib", "Hunter, John D.", "Matplotlib: A 2D Graphics Environment", 2007,
              journal="Computing in Science \\& Engineering", volume="9", pages="90--95", doi="10.1109/MCSE.2007.55",
              package="matplotlib"),
    Reference("pedregosa2011sklearn", "Pedregosa, Fabian and others", "Scikit-learn: Machine Learning in Python", 2011,
              journal="Journal of Machine Learning Research", volume="12", pages="2825--2830", package="sklearn"),
)  # fmt: skip
