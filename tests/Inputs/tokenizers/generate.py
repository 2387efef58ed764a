#!/usr/bin/env python3
"""Trains the small tokenizers of this folder and writes what they make of texts.

Needs the tokenizers package (0.23), whose results are the expected ones. Writes
  NAME.json           a tokenizer, trained on WikiText and a few lines of other scripts
  texts.json          nasty texts, as hexadecimal bytes: not all are valid UTF-8
  NAME.expected.json  for each text the number of ids and the FNV-1a hashes of ids, of
                      the decoded text, and of that without special tokens; the ids
                      themselves for short texts; and the same for a WikiText excerpt
"--check FILE TEXT" instead prints the number of ids of a whole text and their hash.
"""
import json
import pathlib
import random
import sys

from tokenizers import (AddedToken, Regex, Tokenizer, decoders, models, normalizers,
                        pre_tokenizers, processors, trainers)

HERE = pathlib.Path(__file__).parent
WIKITEXT = HERE.parent / "text"
EXCERPT_BYTES = 150000

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
          r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace("{1,3}", "")
GPT4O = (r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
         r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*"
         r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*"
         r"|\s*[\r\n]+|\s+(?!\S)|\s+")
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
OTHER_SCRIPTS = [
    "日本語のテキスト、漢字とかな。", "한국어 텍스트", "שלום עולם", "مرحبا بالعالم",
    "naïve café Ünïcödé ÀÉÎ", "👨‍👩‍👧‍👦 😀🎉", "1234567890 12 345 6789",
    "don't I'll we've they're it's", "def f(x):\n    return x+1\n\n\t\tfoo"]


def byte_level(**options):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **options)


def split_bytes(pattern, behavior="isolated", invert=False):
    return pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(pattern), behavior, invert=invert), byte_level(use_regex=False)])


def train(tokenizer, specials, bytes_alphabet=True, **options):
    lines = (WIKITEXT / "wikitext2-valid.txt").read_text(encoding="utf-8").splitlines(keepends=True)
    trainer = trainers.BpeTrainer(
        vocab_size=1200, special_tokens=specials, show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet() if bytes_alphabet else [], **options)
    tokenizer.train_from_iterator(lines[:6000] + OTHER_SCRIPTS * 20, trainer)
    return tokenizer


def gpt2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = byte_level()
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    train(tokenizer, ["<|endoftext|>"])
    for token in [AddedToken("<|lstrip|>", lstrip=True, special=True),
                  AddedToken("<rs>", rstrip=True),
                  AddedToken("word", single_word=True, normalized=True),
                  AddedToken("   ", normalized=False)]:
        tokenizer.add_tokens([token])
    return tokenizer


def llama3():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = split_bytes(LLAMA3)
    tokenizer.decoder = decoders.ByteLevel()
    train(tokenizer, ["<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>", "<|start_header_id|>",
                      "<|end_header_id|>"])
    bos = "<|begin_of_text|>"
    tokenizer.post_processor = processors.Sequence([
        processors.ByteLevel(trim_offsets=False),
        processors.TemplateProcessing(single=f"{bos} $A", pair=f"{bos} $A {bos} $B:1",
                                      special_tokens=[(bos, 0)])])
    return tokenizer


def qwen2():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = split_bytes(QWEN2)
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def smollm():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(True), byte_level()])
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])


def gpt4o():
    tokenizer = Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = split_bytes(GPT4O, "removed", invert=True)
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, ["<|endoftext|>"])


def falcon():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Punctuation("contiguous"), byte_level(), pre_tokenizers.Digits(False),
        pre_tokenizers.Split(Regex("[0-9][0-9][0-9]"), "isolated")])
    tokenizer.decoder = decoders.ByteLevel()
    return train(tokenizer, [">>TITLE<<", "<|endoftext|>"])


def sentencepiece():
    """As Llama 2: no pre-tokenizer, so that a whole text is one word."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([
        decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(),
        decoders.Strip(" ", 1, 0)])
    train(tokenizer, ["<unk>", "<s>", "</s>"] + BYTES, bytes_alphabet=False, limit_alphabet=80)
    data = json.loads(tokenizer.to_str())
    data["pre_tokenizer"] = None
    data["added_tokens"] = [t for t in data["added_tokens"] if t["content"] not in BYTES]
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="$A $B", special_tokens=[("<s>", 1)])
    return tokenizer


def metaspace():
    """As newer conversions of SentencePiece models: Metaspace at the beginning only."""
    tokenizer = sentencepiece()
    data = json.loads(tokenizer.to_str())
    data["normalizer"] = None
    tokenizer = Tokenizer.from_str(json.dumps(data))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.add_tokens([AddedToken("[INST]", normalized=True)])
    return tokenizer


def metaspace_words():
    data = json.loads(metaspace().to_str())
    data["pre_tokenizer"] = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": "always",
                             "split": True}
    data["decoder"] = data["pre_tokenizer"]
    data["model"]["byte_fallback"] = data["model"]["fuse_unk"] = False
    return Tokenizer.from_str(json.dumps(data))


def normalized():
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.Sequence([
        normalizers.NFKD(), normalizers.StripAccents(), normalizers.Lowercase(),
        normalizers.Strip(), normalizers.Replace(Regex(r"\d+"), "#"), normalizers.NFC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Punctuation("contiguous")])
    tokenizer.decoder = decoders.BPEDecoder()
    train(tokenizer, ["[UNK]"], bytes_alphabet=False, limit_alphabet=100,
          end_of_word_suffix="</w>")
    tokenizer.add_tokens([AddedToken("Mixed Case", normalized=True)])
    tokenizer.add_tokens([AddedToken("Ünï", normalized=True, single_word=True)])
    return tokenizer


def prefixed():
    tokenizer = Tokenizer(models.BPE(unk_token="[UNK]", continuing_subword_prefix="##",
                                     fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Nmt(), normalizers.NFKC()])
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Whitespace(), pre_tokenizers.Digits(False),
        pre_tokenizers.Split(",", "merged_with_previous"),
        pre_tokenizers.Split(Regex("[aeiou]"), "merged_with_next")])
    return train(tokenizer, ["[UNK]"], bytes_alphabet=False, limit_alphabet=100,
                 continuing_subword_prefix="##")


FAMILIES = [gpt2, llama3, qwen2, smollm, gpt4o, falcon, sentencepiece, metaspace, metaspace_words,
            normalized, prefixed]

WRITTEN = [
    "", "a", " ", "  ", "\n", "\r\n\r\n  x", "hello world", " hello  world ",
    "👨‍👩‍👧‍👦 family 🏳️‍🌈 flag 🇩🇪 e\u0301 é", "日本語の文章です。漢字かな交じり",
    "한국어 조선말 \u1112\u1161\u11ab", "שָׁלוֹם עולם مرحبا بالعالم",
    "123 4567890 12,345.67 ١٢٣ ½ Ⅷ ²³", "\x00\x01\x02\x07\x1f\x7f\x80\x85\xa0",
    "a\u0300\u0301\u0302b\u0327", "don't I'LL we'Ve 'sup it's ſ'ſ 'ſ 'K", "x" * 3000, "ab" * 2000,
    "_" * 500 + " " * 500 + "\n" * 300, "\t\t\tint main() {\n    return 0;\n}\n",
    "<|im_start|>user\nhi<|im_end|>\n", "a<|endoftext|>b", "  <|lstrip|>  x <|lstrip|>",
    "<rs>   \n  y", "word words sword word. word", "Mixed case MIXED CASE ünï Ünï ÜNÏx",
    "<s>hi</s> <unk> <0x41> [INST] x [INST]y", "▁a ▁▁b\u2581", "İstanbul ǅ ŉ ß ẞ ﬁ ﬀ Å Å",
    "a\u200bb\u200cc\u200dd\ufeffe\u2028f\u2029g\u3000h", "\U0001F468\U0001F3FD \U00020000 \uE000",
    "1 22 333 4444 55555", "   leading and trailing   ", "\u00ad soft \u061c", "a.b,c;d!e?f",
    "tab\tsep\vvt\fff\x1cfs", "’s ’ll “quoted” – — …", "क्षत्रिय தமிழ் ไทย ភាសាខ្មែរ", "\ufffd\ufffd",
    "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"]
BROKEN = [b"\xff\xfe", b"abc\xc3", b"\xe2\x82 x", b"\xed\xa0\x80y", b"\xf0\x9f\x98",
          b"\xc0\x80\xf5\x80\x80\x80\xf4\x90\x80\x80", b"ok\x80\x80ok"]


def random_texts():
    source = random.Random(7)
    ranges = [(0x20, 0x7e), (0xa0, 0x24f), (0x300, 0x370), (0x400, 0x5ff), (0x900, 0xdff),
              (0x2000, 0x2bff), (0x3040, 0x9fff), (0xac00, 0xd7a3), (0x1f300, 0x1f9ff)]
    wide = "".join(chr(source.randint(*source.choice(ranges))) for _ in range(400))
    pools = ["abcdefg ABC 123 .,!'\n\t", wide, " \n\r\t\u00a0'sStTlL"]
    for _ in range(200):
        length = source.randint(1, 60)
        yield "".join(source.choice(source.choice(pools)) for _ in range(length)).encode()
    for _ in range(60):
        yield bytes(source.randrange(256) for _ in range(source.randint(1, 40)))


def fnv(data):
    value = 0xcbf29ce484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return f"{value:016x}"


def hash_ids(ids):
    return fnv(b"".join(i.to_bytes(4, "little") for i in ids))


def expectation(tokenizer, data):
    ids = tokenizer.encode(data.decode("utf-8", "replace")).ids
    result = {"count": len(ids), "ids_hash": hash_ids(ids),
              "text_hash": fnv(tokenizer.decode(ids, skip_special_tokens=False).encode()),
              "plain_hash": fnv(tokenizer.decode(ids, skip_special_tokens=True).encode())}
    if len(data) <= 30:
        result["ids"] = ids
    return result


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--check":
        ids = Tokenizer.from_file(sys.argv[2]).encode(open(sys.argv[3], encoding="utf-8").read()).ids
        print(len(ids), hash_ids(ids))
        return
    texts = [text.encode() for text in WRITTEN] + BROKEN + list(random_texts())
    (HERE / "texts.json").write_text(
        "[\n" + ",\n".join(f'"{text.hex()}"' for text in texts) + "\n]\n")
    excerpt = (WIKITEXT / "wikitext2-test.txt").read_bytes()[:EXCERPT_BYTES]
    tokenizers = {family.__name__: family() for family in FAMILIES}
    for name, tokenizer in tokenizers.items():
        data = json.loads(tokenizer.to_str())
        (HERE / f"{name}.json").write_text(
            json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    tokenizers["tiny"] = Tokenizer.from_file(str(HERE.parent / "models/tiny/tokenizer.json"))
    for name, tokenizer in tokenizers.items():
        cases = [expectation(tokenizer, text) for text in texts]
        wikitext = {"bytes": EXCERPT_BYTES} | expectation(tokenizer, excerpt)
        lines = ",\n".join(json.dumps(case) for case in cases)
        (HERE / f"{name}.expected.json").write_text(
            f'{{"wikitext": {json.dumps(wikitext)},\n"cases": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
