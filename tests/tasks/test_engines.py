"""Engines without vLLM: what both share, and TransformersEngine on tiny models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file

from modelfolder.errors import InputError
from tasks import engines
from tasks.engines.transformers_engine import TransformersEngine
from tests.tiny import SENTENCES, save_tiny

PROMPTS = [*SENTENCES, "The capital of", SENTENCES[0] + " " + SENTENCES[3] + " So", "A"]
BUDGETS = [1 + 3 * (i % 5) for i in range(len(PROMPTS))]


def reference(folder: Path, prompts: list[str], budgets: list[int]) -> list[str]:
    """One prompt at a time through transformers' own generate."""
    model = transformers.AutoModelForCausalLM.from_pretrained(folder)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    outputs = []
    for prompt, budget in zip(prompts, budgets, strict=True):
        ids = tokenizer(prompt, return_tensors="pt").input_ids
        whole = model.generate(ids, max_new_tokens=budget, do_sample=False, pad_token_id=0)[0]
        before = tokenizer.decode(ids[0], skip_special_tokens=True)
        outputs.append(tokenizer.decode(whole, skip_special_tokens=True)[len(before) :])
    return outputs


def noisy(tensor: torch.Tensor, seed: int = 1) -> torch.Tensor:
    noise = torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))
    return tensor + noise * tensor.std()


@pytest.fixture(scope="module")
def gpt2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("gpt2", tmp_path_factory.mktemp("gpt2"))


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny("llama", tmp_path_factory.mktemp("llama"), tokenizer="metaspace")


def test_auto_takes_vllm_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {"vllm"}
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object() if name in found else None)
    assert engines.which("auto") == engines.which("vllm") == "vllm"
    found.clear()
    assert engines.which("auto") == "transformers"
    with pytest.raises(InputError, match="not installed"):
        engines.which("vllm")
    with pytest.raises(InputError, match="'vlm' is unknown: did you mean 'vllm'"):
        engines.which("vlm")


def test_importing_engines_imports_nothing_heavy() -> None:
    code = "import sys, tasks.engines; print([m for m in ('torch', 'transformers', 'vllm', 'ray') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_create_passes_limits_on(llama: Path) -> None:
    with engines.create("transformers", llama, max_model_len=100, kv_cache_gib=1, seed=0) as engine:
        assert (engine.name, engine.max_model_len, engine.dtype) == ("transformers", 100, "float32")
    with pytest.raises(InputError, match="dtype 'fp32' is unknown"):
        engines.create("transformers", llama, dtype="fp32")
    with pytest.raises(InputError, match=r"not a model folder \(it has no config\.json"):
        engines.create("transformers", llama / "nowhere")


@pytest.mark.parametrize(
    ("family", "tokenizer"),
    [
        ("gpt2", "byte-level"),
        ("llama", "metaspace"),
        ("qwen3", "byte-level"),
        ("gemma", "metaspace"),
        ("gemma2", "metaspace"),
        ("gemma3_text", "metaspace"),
        ("gpt_neox", "byte-level"),
    ],
)
def test_batches_equal_one_prompt_at_a_time(family: str, tokenizer: str, tmp_path: Path) -> None:
    folder = save_tiny(family, tmp_path, tokenizer=tokenizer)
    with TransformersEngine(folder) as engine:
        outputs = engine.generate(PROMPTS, BUDGETS)
    assert outputs == reference(folder, PROMPTS, BUDGETS)
    assert len(set(outputs)) >= 5


def test_one_budget_for_all_and_no_prompt_at_all(gpt2: Path) -> None:
    with TransformersEngine(gpt2) as engine:
        assert engine.generate(PROMPTS[:3], 4) == engine.generate(PROMPTS[:3], [4, 4, 4])
        assert engine.generate([], 4) == []
        assert engine.generate([""], 2) == reference(gpt2, ["<|endoftext|>"], [2])
        for wrong in (0, engine.max_model_len, [1, 2]):
            with pytest.raises(InputError, match="budget"):
                engine.generate(PROMPTS[:3], wrong)


def test_text_ends_at_the_end_token_of_the_generation_config(tmp_path: Path) -> None:
    folder = save_tiny("gpt2", tmp_path)
    with TransformersEngine(folder) as engine:
        ids = engine._generate(engine.texts.encode(PROMPTS), [12] * len(PROMPTS))
        whole = engine.generate(PROMPTS, 12)
    end = ids[0][4]  # a token that greedy decoding does come to
    settings = {"eos_token_id": [end, 1], "repetition_penalty": 2.0, "temperature": 0.1, "do_sample": True}
    (folder / "generation_config.json").write_text(json.dumps(settings))
    with TransformersEngine(folder) as engine:
        shorter = engine.generate(PROMPTS, 12)
        assert any(len(a) < len(b) for a, b in zip(shorter, whole, strict=True))
        stops = [row.index(end) if end in row else len(row) for row in ids]
        pairs = zip(engine.texts.encode(PROMPTS), ids, stops, strict=True)
        assert shorter == [engine.texts.decode(prompt, row[:stop]) for prompt, row, stop in pairs]


def test_long_prompts_lose_their_left_part(llama: Path) -> None:
    long = " ".join(SENTENCES)
    with TransformersEngine(llama, max_model_len=60) as engine:
        begin = engine.texts.tokenizer.bos_token_id
        ids = engine.texts.encode([long])[0]
        output = engine.generate([long, "A", long], [10, 3, 20])
        assert engine.truncated == 2
        assert engine.texts.cut(ids, 10) == [begin, *ids[-49:]]
        cut = [begin, *ids[-39:]]
        assert output[2] == engine.texts.decode(cut, engine._generate([cut], [20])[0])
        engine.generate(["A"], 3)
        assert engine.truncated == 0


def test_load_is_the_base_plus_exactly_these(gpt2: Path, tmp_path: Path) -> None:
    first, second = "transformer.h.0.mlp.c_proj.weight", "transformer.h.1.attn.c_attn.weight"
    base = load_file(gpt2 / "model.safetensors")
    with TransformersEngine(gpt2) as engine:
        original = engine.generate(PROMPTS, 8)
        engine.load({first: noisy(base[first])})
        engine.load({second: noisy(base[second]).to(torch.float64)})
        assert engine.weight_version == 2
        swapped = engine.generate(PROMPTS, 8)
        engine.restore()
        assert engine.generate(PROMPTS, 8) == original
        parameters = dict(engine._model.named_parameters())
        assert all(torch.equal(parameters[name], tensor) for name, tensor in base.items())
    model = transformers.AutoModelForCausalLM.from_pretrained(gpt2)
    model.get_parameter(second).data.copy_(noisy(base[second]))
    model.save_pretrained(tmp_path)
    transformers.AutoTokenizer.from_pretrained(gpt2).save_pretrained(tmp_path)
    with TransformersEngine(tmp_path) as fresh:
        assert swapped == fresh.generate(PROMPTS, 8) != original


def test_a_failed_write_is_made_good_by_the_next_load(gpt2: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = "transformer.h.0.mlp.c_proj.weight"
    with TransformersEngine(gpt2) as engine:
        original = engine.generate(PROMPTS, 8)
        write = engine._write

        def interrupted(*arguments: object) -> None:
            write(*arguments)  # type: ignore[arg-type]
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(engine, "_write", interrupted)
            with pytest.raises(KeyboardInterrupt):
                engine.load({name: noisy(engine.checkpoint.tensor(name))})
        assert engine.generate(PROMPTS, 8) != original
        engine.restore()
        assert engine.generate(PROMPTS, 8) == original


def test_wrong_tensors_are_refused_and_change_nothing(gpt2: Path) -> None:
    name = "transformer.h.0.mlp.c_proj.weight"
    with TransformersEngine(gpt2) as engine:
        good = {name: noisy(engine.checkpoint.tensor(name))}
        original = engine.generate(PROMPTS, 8)
        for wrong, message in (
            ({"transformer.h.9.mlp.c_proj.weight": good[name]}, "holds no tensor transformer.h.9"),
            ({name: good[name].T}, r"has shape \(64, 256\) where .* has \(256, 64\)"),
            ({"transformer.wte.weight": torch.zeros(384, 64)}, "embedding and output head in one"),
            ({"lm_head.weight": torch.zeros(384, 64)}, "embedding and output head in one"),
        ):
            with pytest.raises(InputError, match=message):
                engine.load({**good, **wrong})
        assert engine.generate(PROMPTS, 8) == original
        assert engine.weight_version == 0


def test_a_closed_engine_says_so(gpt2: Path) -> None:
    engine = TransformersEngine(gpt2)
    engine.close()
    engine.close()
    with pytest.raises(engines.EngineError, match="closed"):
        engine.generate(["A"], 1)


def test_companions_are_whole_modules(tmp_path: Path) -> None:
    def companions(family: str, *names: str) -> list[str]:
        folder = save_tiny(family, tmp_path / family)
        with TransformersEngine(folder) as engine:
            return engine.checkpoint.with_companions(names)

    assert companions("llama", "model.layers.1.mlp.down_proj.weight") == ["model.layers.1.mlp.down_proj.weight"]
    assert companions("llama", "model.layers.1.mlp.up_proj.weight") == [
        "model.layers.1.mlp.gate_proj.weight",
        "model.layers.1.mlp.up_proj.weight",
    ]
    assert companions("qwen2", "model.layers.0.self_attn.v_proj.weight", "model.layers.2.mlp.down_proj.weight") == [
        *(f"model.layers.0.self_attn.{part}_proj.{kind}" for part in "kqv" for kind in ("bias", "weight")),
        "model.layers.2.mlp.down_proj.weight",
    ]
    assert companions("gpt2", "transformer.h.1.mlp.c_proj.weight") == [
        "transformer.h.1.mlp.c_proj.bias",
        "transformer.h.1.mlp.c_proj.weight",
    ]


def test_gpt2_saved_as_a_bare_body_goes_by_the_same_names(gpt2: Path, tmp_path: Path) -> None:
    for file in gpt2.iterdir():
        if file.suffix != ".safetensors":
            (tmp_path / file.name).write_bytes(file.read_bytes())
    tensors = load_file(gpt2 / "model.safetensors")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in tensors.items()}
    save_file(bare, tmp_path / "model.safetensors", metadata={"format": "pt"})
    name = "transformer.h.1.mlp.c_proj.weight"
    with TransformersEngine(tmp_path) as engine, TransformersEngine(gpt2) as usual:
        assert engine.checkpoint.with_companions([name]) == ["h.1.mlp.c_proj.bias", "h.1.mlp.c_proj.weight"]
        assert torch.equal(engine.checkpoint.tensor(name), tensors[name])
        engine.load({name: noisy(tensors[name])})
        usual.load({name: noisy(tensors[name])})
        assert engine.generate(PROMPTS, 8) == usual.generate(PROMPTS, 8)


def test_shards_are_read_through_the_index(llama: Path, tmp_path: Path) -> None:
    model = transformers.AutoModelForCausalLM.from_pretrained(llama)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    transformers.AutoTokenizer.from_pretrained(llama).save_pretrained(tmp_path)
    assert len(list(tmp_path.glob("*.safetensors"))) > 2
    whole = load_file(llama / "model.safetensors")
    with TransformersEngine(tmp_path) as engine:
        assert all(torch.equal(engine.checkpoint.tensor(name), tensor) for name, tensor in whole.items())
    next(tmp_path.glob("*.safetensors")).unlink()
    with pytest.raises(InputError, match=r"which model\.safetensors\.index\.json names"):
        TransformersEngine(tmp_path)


PAIRS = [
    (SENTENCES[0], " yes"),
    (SENTENCES[1], " Paris, the"),
    ("The answer is ", "no"),
    ("", "A film was"),
    (SENTENCES[6], " True"),
    (SENTENCES[6], " False"),
]


def test_likelihoods_are_sums_of_token_logprobs(gpt2: Path, llama: Path) -> None:
    for folder in (gpt2, llama):
        model = transformers.AutoModelForCausalLM.from_pretrained(folder)
        with TransformersEngine(folder) as engine:
            tokenizer = engine.texts.tokenizer
            expected, greedy = [], []
            for prompt, continuation in PAIRS:
                head = tokenizer(prompt.rstrip(" ")).input_ids or [tokenizer.bos_token_id]
                ids = tokenizer(prompt + continuation).input_ids
                ids = ids if prompt else [*head, *tokenizer(continuation, add_special_tokens=False).input_ids]
                logprobs = model(torch.tensor([ids])).logits[0, :-1].log_softmax(-1)
                own = logprobs[range(len(ids) - 1), ids[1:]][len(head) - 1 :]
                expected.append(own.sum().item())
                greedy.append(bool((own == logprobs.amax(-1)[len(head) - 1 :]).all()))
            assert [one.logprob for one in engine.likelihoods(PAIRS)] == pytest.approx(expected, rel=1e-4)
            assert [likelihood.greedy for likelihood in engine.likelihoods(PAIRS)] == greedy
            prompt = SENTENCES[2]
            (chosen,) = engine.generate([prompt], 1)
            ids = engine._generate(engine.texts.encode([prompt]), [1])[0]
            if engine.texts.encode([prompt + chosen])[0] == engine.texts.encode([prompt])[0] + ids:
                assert engine.likelihoods([(prompt, chosen)])[0].greedy


def test_likelihood_of_nothing_is_refused(gpt2: Path) -> None:
    with TransformersEngine(gpt2) as engine:
        assert engine.likelihoods([]) == []
        with pytest.raises(InputError, match="has no tokens of its own"):
            engine.likelihoods([("A", "")])
        with pytest.raises(InputError, match="does not fit into max_model_len"):
            engine.likelihoods([("A", " yes" * 300)])
        long = " ".join(SENTENCES * 3)
        assert engine.likelihoods([(long, " yes")]) == engine.likelihoods([("x" + long, " yes")])  # both are cut


def test_a_token_without_an_embedding_is_refused(tmp_path: Path) -> None:
    folder = save_tiny("llama", tmp_path)
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    tokenizer.add_tokens(["zyzzyva"])
    tokenizer.save_pretrained(folder)
    said = r"the tokenizer's token 384 \('zyzzyva'\) is none of the model's 384"
    with TransformersEngine(folder) as engine:
        with pytest.raises(InputError, match=said):
            engine.generate(["The capital of", "The zyzzyva of"], 3)
        for pair in (("The capital of", " zyzzyva"), ("The zyzzyva", " of France")):  # the last token is not even read
            with pytest.raises(InputError, match=said):
                engine.likelihoods([("The capital of", " France"), pair])
