//===- Formats.td - one row for each quantization format ---*- tablegen -*-===//
//
// A format says what stored numbers mean; this file is the only place that says
// so. From these rows come FormatId and the FormatInfo table
// (llvm-tblgen), sizes, codecs' parameters, packings, names in other tools'
// checkpoints, the reference page and the parametrised tests. The bytes behind a
// name never change: new bytes get a new name.
//
//===----------------------------------------------------------------------===//
include "llvm/TableGen/SearchableTable.td"

/// What one stored code is: its width in bits and its qplan::ElementKind. What numbers the
/// codes of minifloats and tables are is ir/codecs/Elements.cpp.
class Element<string kind, int width> {
  string kindName = kind;
  int bitCount = width;
}
def ElementF32 : Element<"F32", 32>;
def ElementF16 : Element<"F16", 16>;
def ElementBF16 : Element<"BF16", 16>;
def ElementE4M3 : Element<"E4M3", 8>;
def ElementE5M2 : Element<"E5M2", 8>;
def ElementE3M4 : Element<"E3M4", 8>;
def ElementE2M5 : Element<"E2M5", 8>;
def ElementE3M2 : Element<"E3M2", 6>;
def ElementE2M3 : Element<"E2M3", 6>;
def ElementE2M1 : Element<"E2M1", 4>;
def ElementE1M2 : Element<"E1M2", 4>;
def ElementE3M0 : Element<"E3M0", 4>;
def ElementNF4 : Element<"NF4", 4>;
def ElementFP4 : Element<"FP4", 4>;
def ElementIQ4 : Element<"IQ4", 4>;
def ElementTrellis : Element<"Trellis", 16>; // a state; ir/codecs/Trellis.h
class IntElement<int width> : Element<"Int", width>;

/// One row. Columns are counted along the inputs of a linear layer, which are the
/// contiguous dimension of a row.
class Format<int number, string enumerator, string spelling, Element element> {
  bits<16> ordinal = number;            // value of FormatId, position in the table
  string symbol = enumerator;           // enumerator of FormatId
  string id = "FormatId::" # enumerator;
  string name = spelling;               // what users write
  string summary = "";
  string family = "CodecFamily::Float";   // which codec reads and writes it
  string kind = "ElementKind::" # element.kindName;
  bits<8> elementBits = element.bitCount; // of one code, without scales
  bits<16> centiBits = 0;               // stored bits of a weight, at most, in 1/100; 0: by the rest
  bits<16> blockColumns = 1;            // columns of a stored block; 0: the whole row
  bits<16> blockBytes = 0;              // of a block, where blocks follow one another
  bit shortBlock = 0;                   // the last block of a row may be short
  bits<16> groupColumns = 0;            // columns that share one effective scale; 0: the row
  string scale = "ScaleType::None";       // stored scale of a block
  string zero = "ZeroPoint::None";
  string rounding = "Rounding::NearestEven";
  bits<16> divisorHalves = 0;           // scale = largest magnitude / (divisorHalves / 2), rule Max;
                                        // 0: another rule, or the greatest code of the element
  string side = "SideData::None";       // f32 numbers of the tensor, kept beside its rows
  string panel = "PanelElement::U8";      // how the panel16 packing stores a code
  bits<8> offset = 0;                   // value = scale * (code - offset) when there is no minimum
  string panelScale = "ScaleType::None";  // exact type of the effective scale (and minimum)
  bit panelMin = 0;                     // value = scale * code + minimum
  bits<16> ggufType = 65535;            // type id in GGUF files; 65535: none
  string safetensors = "";              // dtype in safetensors files
  string compressedTensors = "";        // scheme of compressed-tensors
  string modelopt = "";                 // quant_algo of ModelOpt
  bits<16> modeloptMilliBits = 0;       // what ModelOpt's budget charges; 0: stored size
  string activation = "FormatId::F32";    // activations it is run with when none is named
  string inner = "FormatId::F32";         // sparse formats: that of the values that are kept
  bit isWeight = 1;
  bit isActivation = 0;
  bit isKv = 0;
  bits<32> toleranceE5 = 0;             // rms error / rms on normal data stays below, in 1e-5
}

//===----------------------------------------------------------------------===//
// Plain floats
//===----------------------------------------------------------------------===//
class FloatFormat<int number, string enumerator, string spelling, Element element, string dtype,
                  int gguf> : Format<number, enumerator, spelling, element> {
  let panel = "PanelElement::" # element.kindName;
  let ggufType = gguf;
  let safetensors = dtype;
  let isActivation = 1;
  let isKv = 1;
}
def F32Format : FloatFormat<0, "F32", "f32", ElementF32, "F32", 0> {
  let summary = "IEEE single precision";
  let toleranceE5 = 1;
}
def F16Format : FloatFormat<1, "F16", "f16", ElementF16, "F16", 1> {
  let summary = "IEEE half precision";
  let modelopt = "none";
  let toleranceE5 = 40;
}
def BF16Format : FloatFormat<2, "BF16", "bf16", ElementBF16, "BF16", 30> {
  let summary = "bfloat16: the upper half of f32";
  let modelopt = "none";
  let toleranceE5 = 300;
}

//===----------------------------------------------------------------------===//
// Our integers. A row is [codes, LSB first][scales][zero points, LSB first].
// Codes are unsigned, q + 2^(bits-1) when symmetric, so that the rows of GPTQ,
// AWQ and compressed-tensors (integer zero point, f16 scale) are held exactly.
//===----------------------------------------------------------------------===//
class IntFormat<int number, string enumerator, string spelling, int width>
    : Format<number, enumerator, spelling, IntElement<width>> {
  let family = "CodecFamily::Affine";
  let shortBlock = 1;
  let offset = !shl(1, !sub(width, 1));
  // int8 uses 127, as SmoothQuant's and ModelOpt's references; below, where half a
  // step matters, the range is split evenly (7.5), as GPTQ's and compressed-tensors'.
  // Of 2 and 3 bits that rule loses much to outliers (2 bits: levels -4/3, -2/3, 0 and 2/3
  // of the largest magnitude); @mse finds the narrower grids that suit them.
  let divisorHalves = !if(!eq(width, 8), 254, !sub(!shl(1, width), 1));
  let panel = !if(!le(width, 4), "PanelElement::U4", "PanelElement::U8");
  let modeloptMilliBits = !mul(width, 1000);
  let compressedTensors = !if(!or(!eq(width, 4), !eq(width, 8)), "pack-quantized", "");
  // The error of a row of 4096 values shrinks as the step does.
  let toleranceE5 = !if(!eq(width, 8), 1500, !div(300000, !sub(!shl(1, width), 1)));
}
class RowInt<int number, int width>
    : IntFormat<number, "Int" # width, "int" # width, width> {
  let summary = "signed " # width # "-bit integers, one f32 scale per output channel";
  let blockColumns = 0;
  let scale = "ScaleType::F32";
  let panelScale = "ScaleType::F32";
  let modelopt = !if(!eq(width, 8), "INT8_SQ", "");
}
class GroupInt<int number, int width, int group>
    : IntFormat<number, "Int" # width # "G" # group, "int" # width # "_g" # group, width> {
  let isKv = !or(!eq(width, 4), !eq(width, 8));
  let summary = "signed " # width # "-bit integers, one f16 scale for " # group # " columns";
  let blockColumns = group;
  let groupColumns = group;
  let scale = "ScaleType::F16";
  let panelScale = "ScaleType::F16";
  let modelopt = !if(!and(!eq(width, 4), !eq(group, 128)), "W4A16_AWQ", "");
}
class AsymmetricInt<int number, int width, int group>
    : IntFormat<number, "Int" # width # "G" # group # "Asym",
                "int" # width # "_g" # group # "_asym", width> {
  let isKv = !eq(width, 4);
  let summary = "unsigned " # width # "-bit integers, one f16 scale and one " # width
                # "-bit zero point for " # group # " columns";
  let blockColumns = group;
  let groupColumns = group;
  let scale = "ScaleType::F16";
  let zero = "ZeroPoint::Integer";
  let divisorHalves = 0;
  let offset = 0;
  // -scale * zero needs up to 19 bits of mantissa: f16 would not be exact.
  let panelScale = "ScaleType::F32";
  let panelMin = 1;
}
defvar GroupSizes = [32, 64, 128];
def Int8Format : RowInt<3, 8> {
  let isKv = 1; // a row is what one head keeps of one token
}
def Int4Format : RowInt<4, 4>;
foreach i = [0, 1, 2] in {
  defvar group = GroupSizes[i];
  def Int8G#group#Format : GroupInt<!add(5, i), 8, group>;
  def Int4G#group#Format : GroupInt<!add(8, i), 4, group>;
  def Int8G#group#AsymFormat : AsymmetricInt<!add(11, i), 8, group>;
  def Int4G#group#AsymFormat : AsymmetricInt<!add(14, i), 4, group>;
}

//===----------------------------------------------------------------------===//
// fp8
//===----------------------------------------------------------------------===//
// A row is [codes, LSB first][scales]. value = scale * element(code), and codes are rounded to
// the nearest number of the element, ties to the even code; values beyond the last saturate.
class MinifloatFormat<int number, string enumerator, string spelling, Element element>
    : Format<number, enumerator, spelling, element> {
  let family = "CodecFamily::Grid";
  let panelScale = "ScaleType::F32";
}
class Fp8Format<int number, string enumerator, string spelling, Element element>
    : MinifloatFormat<number, enumerator, spelling, element> {
  let blockColumns = 0;
  // Kernels read the other elements as the f32 numbers that they stand for.
  let panel = !if(!eq(element.kindName, "E4M3"), "PanelElement::E4M3", "PanelElement::F32");
  let safetensors = !if(!eq(element.kindName, "E4M3"), "F8_E4M3",
                        !if(!eq(element.kindName, "E5M2"), "F8_E5M2", ""));
  let compressedTensors = !if(!eq(element.kindName, "E4M3"), "float-quantized", "");
  let modeloptMilliBits = 8000;
  let toleranceE5 = !if(!eq(element.kindName, "E5M2"), 8000, 4000);
}
def Fp8E4M3Format : Fp8Format<17, "Fp8E4M3", "fp8_e4m3", ElementE4M3> {
  let summary = "f8E4M3FN, one f32 scale per output channel";
  let scale = "ScaleType::F32";
  let modelopt = "FP8_PER_CHANNEL_PER_TOKEN";
  let isKv = 1;
}
def Fp8E4M3TensorFormat : Fp8Format<18, "Fp8E4M3Tensor", "fp8_e4m3_tensor", ElementE4M3> {
  let summary = "f8E4M3FN, one f32 scale per tensor";
  let side = "SideData::Scale";
  let isActivation = 1;
  let isKv = 1;
  let modelopt = "FP8";
}
def Fp8E4M3TokenFormat : Fp8Format<19, "Fp8E4M3Token", "fp8_e4m3_token", ElementE4M3> {
  let summary = "activations in f8E4M3FN, one f32 scale per token, found at run time";
  let scale = "ScaleType::F32";
  let isWeight = 0;
  let isActivation = 1;
}

//===----------------------------------------------------------------------===//
// Integer activations
//===----------------------------------------------------------------------===//
class Int8Activation<int number, string enumerator, string spelling>
    : IntFormat<number, enumerator, spelling, 8> {
  let blockColumns = 0;
  let scale = "ScaleType::F32";
  let panelScale = "ScaleType::F32";
  let compressedTensors = "int-quantized";
  let isWeight = 0;
  let isActivation = 1;
}
def Int8TokenFormat : Int8Activation<20, "Int8Token", "int8_token"> {
  let summary = "activations in -127..127, one f32 scale per token, found at run time";
}
def Int8TensorFormat : Int8Activation<21, "Int8Tensor", "int8_tensor"> {
  let summary = "activations in -127..127, one f32 scale per tensor, fixed by calibration";
  let scale = "ScaleType::None";
  let side = "SideData::Scale";
}

//===----------------------------------------------------------------------===//
// GGML's blocks, byte for byte as in GGUF files
//===----------------------------------------------------------------------===//
class GgmlFormat<int number, string enumerator, string spelling, int width, int columns,
                 int bytes, int gguf>
    : Format<number, enumerator, spelling, IntElement<width>> {
  let family = "CodecFamily::Ggml";
  let blockColumns = columns;
  let blockBytes = bytes;
  let groupColumns = columns;
  let ggufType = gguf;
  let panel = !if(!le(width, 4), "PanelElement::U4", "PanelElement::U8");
  let rounding = "Rounding::HalfUp";
  let activation = !if(!eq(columns, 256), "FormatId::Int8B256", "FormatId::Int8B32");
}
class GgmlBlock32<int number, string enumerator, string spelling, int width, int bytes,
                  int gguf> : GgmlFormat<number, enumerator, spelling, width, 32, bytes, gguf> {
  let summary = "GGML: signed " # elementBits # "-bit integers, one f16 scale for 32 columns";
  let scale = "ScaleType::F16";
  let panelScale = "ScaleType::F16";
  let offset = !shl(1, !sub(width, 1));
}
def Q80Format : GgmlBlock32<22, "Q8_0", "q8_0", 8, 34, 8> {
  let rounding = "Rounding::HalfAway";
  let divisorHalves = 254;
  let toleranceE5 = 1000;
}
def Q40Format : GgmlBlock32<23, "Q4_0", "q4_0", 4, 18, 2> {
  let toleranceE5 = 12000;
}
def Q50Format : GgmlBlock32<24, "Q5_0", "q5_0", 5, 22, 6> {
  let toleranceE5 = 6000;
}
class GgmlMin32<int number, string enumerator, string spelling, int width, int bytes, int gguf>
    : GgmlBlock32<number, enumerator, spelling, width, bytes, gguf> {
  let summary = "GGML: unsigned " # width # "-bit integers, f16 scale and minimum for 32 columns";
  let zero = "ZeroPoint::Minimum";
  let panelMin = 1;
  let offset = 0;
}
def Q41Format : GgmlMin32<25, "Q4_1", "q4_1", 4, 20, 3> {
  let toleranceE5 = 12000;
}
def Q51Format : GgmlMin32<26, "Q5_1", "q5_1", 5, 24, 7> {
  let toleranceE5 = 6000;
}
class GgmlSuper<int number, string enumerator, string spelling, int width, int bytes, int gguf,
                int group, bit hasMin, int tolerance>
    : GgmlFormat<number, enumerator, spelling, width, 256, bytes, gguf> {
  let summary = "GGML: " # width # "-bit integers, super-blocks of 256 columns with "
                # !if(hasMin, "small-integer scales and minima", "small-integer scales") # " for "
                # group # " columns";
  let groupColumns = group;
  let scale = "ScaleType::F16";
  let panelScale = "ScaleType::F32";
  let panelMin = hasMin;
  let zero = !if(hasMin, "ZeroPoint::Minimum", "ZeroPoint::None");
  let offset = !if(hasMin, 0, !shl(1, !sub(width, 1)));
  let toleranceE5 = tolerance;
}
def Q2KFormat : GgmlSuper<27, "Q2_K", "q2_K", 2, 84, 10, 16, 1, 34000>;
def Q3KFormat : GgmlSuper<28, "Q3_K", "q3_K", 3, 110, 11, 16, 0, 20000>;
def Q4KFormat : GgmlSuper<29, "Q4_K", "q4_K", 4, 144, 12, 32, 1, 9000>;
def Q5KFormat : GgmlSuper<30, "Q5_K", "q5_K", 5, 176, 13, 32, 1, 4500>;
def Q6KFormat : GgmlSuper<31, "Q6_K", "q6_K", 6, 210, 14, 16, 0, 2500>;

def Int8B32Format : GgmlBlock32<32, "Int8B32", "int8_b32", 8, 34, 65535> {
  let summary = "activations as GGML's Q8_0: f16 scale for 32 columns, found at run time";
  let rounding = "Rounding::HalfAway";
  let divisorHalves = 254;
  let isWeight = 0;
  let isActivation = 1;
  let toleranceE5 = 1000;
}
def Int8B256Format : GgmlFormat<33, "Int8B256", "int8_b256", 8, 256, 292, 65535> {
  let summary = "activations as GGML's Q8_K: f32 scale and sums for 256 columns, found at run time";
  let rounding = "Rounding::NearestEven";
  let scale = "ScaleType::F32";
  let panelScale = "ScaleType::F32";
  let offset = 128;
  let isWeight = 0;
  let isActivation = 1;
  let toleranceE5 = 1200;
}

//===----------------------------------------------------------------------===//
// More widths of our integers: rows as those of int4 and int8
//===----------------------------------------------------------------------===//
defvar MoreWidths = [2, 3, 5, 6, 7];
defvar MoreGroupSizes = [16, 32, 64, 128];
foreach w = [0, 1, 2, 3, 4] in {
  defvar width = MoreWidths[w];
  defvar first = !add(34, !mul(w, 9)); // a row, four symmetric and four asymmetric groups
  def Int#width#Format : RowInt<first, width>;
  foreach i = [0, 1, 2, 3] in {
    defvar group = MoreGroupSizes[i];
    def Int#width#G#group#Format : GroupInt<!add(first, 1, i), width, group>;
    def Int#width#G#group#AsymFormat : AsymmetricInt<!add(first, 5, i), width, group>;
  }
}

//===----------------------------------------------------------------------===//
// More minifloats of 8 bits, and fp8 in blocks
//===----------------------------------------------------------------------===//
multiclass Fp8Formats<int first, Element element> {
  defvar symbolOf = "Fp8" # element.kindName;
  defvar spellingOf = "fp8_" # !tolower(element.kindName);
  def Format : Fp8Format<first, symbolOf, spellingOf, element> {
    let summary = element.kindName # " floats, one f32 scale per output channel";
    let scale = "ScaleType::F32";
  }
  def TensorFormat : Fp8Format<!add(first, 1), symbolOf # "Tensor", spellingOf # "_tensor",
                               element> {
    let summary = element.kindName # " floats, one f32 scale per tensor";
    let side = "SideData::Scale";
    let isActivation = 1;
  }
  def TokenFormat : Fp8Format<!add(first, 2), symbolOf # "Token", spellingOf # "_token",
                              element> {
    let summary = "activations in " # element.kindName
                  # " floats, one f32 scale per token, found at run time";
    let scale = "ScaleType::F32";
    let isWeight = 0;
    let isActivation = 1;
  }
}
defm Fp8E5M2 : Fp8Formats<79, ElementE5M2>;
defm Fp8E3M4 : Fp8Formats<82, ElementE3M4>;
defm Fp8E2M5 : Fp8Formats<85, ElementE2M5>;

class GridFormat<int number, string enumerator, string spelling, Element element, int group>
    : MinifloatFormat<number, enumerator, spelling, element> {
  let blockColumns = group;
  let groupColumns = group;
  let shortBlock = 1;
  let panel = "PanelElement::F32"; // kernels read the numbers that codes stand for
}
def Fp8E4M3B128Format
    : GridFormat<88, "Fp8E4M3B128", "fp8_e4m3_b128", ElementE4M3, 128> {
  let summary = "f8E4M3FN, one f32 scale for a block of 128 x 128 (DeepSeek's weights)";
  let side = "SideData::Block128";
  let safetensors = "F8_E4M3";
  let compressedTensors = "float-quantized";
  let modelopt = "FP8_PB_WO";
  let modeloptMilliBits = 8000;
  let toleranceE5 = 4000;
}
def Fp8E4M3G128Format
    : GridFormat<89, "Fp8E4M3G128", "fp8_e4m3_g128", ElementE4M3, 128> {
  let summary = "activations in f8E4M3FN, one f32 scale for 128 columns, found at run time";
  let scale = "ScaleType::F32";
  let isWeight = 0;
  let isActivation = 1;
  let toleranceE5 = 4000;
}

//===----------------------------------------------------------------------===//
// OCP microscaling: blocks of 32 with a power of two, the least by which nothing
// saturates (OCP's floor would, which costs E4M3 a third in KL); @mse also tries the
// powers beside it.
//===----------------------------------------------------------------------===//
class MxFormat<int number, string enumerator, string spelling, Element element>
    : GridFormat<number, enumerator, spelling, element, 32> {
  let summary = "OCP MX: " # element.kindName # " floats, one power of two for 32 columns";
  let scale = "ScaleType::E8M0";
  let isActivation = 1;
  let modeloptMilliBits = !mul(element.bitCount, 1000);
}
def MxFp8Format : MxFormat<90, "MxFp8", "mxfp8", ElementE4M3> {
  let compressedTensors = "mxfp8-quantized";
  let modelopt = "MXFP8";
  let toleranceE5 = 4000;
}
def MxFp8E5M2Format : MxFormat<91, "MxFp8E5M2", "mxfp8_e5m2", ElementE5M2> {
  let toleranceE5 = 8000;
}
def MxFp6Format : MxFormat<92, "MxFp6", "mxfp6", ElementE3M2> {
  let toleranceE5 = 8000;
}
def MxFp6E2M3Format : MxFormat<93, "MxFp6E2M3", "mxfp6_e2m3", ElementE2M3> {
  let compressedTensors = "mxfp6-pack-quantized";
  let toleranceE5 = 6000;
}
def MxFp4Format : MxFormat<94, "MxFp4", "mxfp4", ElementE2M1> {
  let compressedTensors = "mxfp4-pack-quantized";
  let ggufType = 39; // other order of bytes: ir/import/GgufFp4.h
  let modelopt = "MXFP4";
  let toleranceE5 = 18000;
}
def MxInt8Format : MxFormat<95, "MxInt8", "mxint8", IntElement<8>> {
  let summary = "OCP MX: integers of -127..127 / 64, one power of two for 32 columns";
  let offset = 128;
  let panel = "PanelElement::U8";
  let toleranceE5 = 1500;
}

//===----------------------------------------------------------------------===//
// NVFP4: blocks of 16 with an E4M3 scale, and one f32 scale for the tensor
//===----------------------------------------------------------------------===//
def NvFp4Format : GridFormat<96, "NvFp4", "nvfp4", ElementE2M1, 16> {
  let summary = "NVFP4: E2M1 floats, one E4M3 scale for 16 columns, one f32 scale per tensor";
  let scale = "ScaleType::E4M3";
  let side = "SideData::Scale";
  let isActivation = 1;
  let isKv = 1;
  let compressedTensors = "nvfp4-pack-quantized";
  let ggufType = 40; // other order of bytes: ir/import/GgufFp4.h
  let modelopt = "NVFP4";
  let modeloptMilliBits = 4500;
  let toleranceE5 = 12000;
}

//===----------------------------------------------------------------------===//
// bitsandbytes: tables of 16 numbers, blocks of 64 along a row, scaled by their largest
// magnitude; with double quantization that is an index of 8 bits
//===----------------------------------------------------------------------===//
class TableFormat<int number, string enumerator, string spelling, Element element>
    : GridFormat<number, enumerator, spelling, element, 64> {
  let toleranceE5 = !if(!eq(element.kindName, "NF4"), 12000, 18000);
}
multiclass BnbFormats<int first, Element element, string spellingOf> {
  def Format : TableFormat<first, element.kindName, spellingOf, element> {
    let summary = "bitsandbytes' " # element.kindName # ": one f32 scale for 64 columns";
    let scale = "ScaleType::F32";
  }
  def DqFormat : TableFormat<!add(first, 1), element.kindName # "Dq", spellingOf # "_dq",
                             element> {
    let summary = "bitsandbytes' " # element.kindName
                  # " with double quantization: 8-bit scales for 64 columns, f32 for 256 of those";
    let scale = "ScaleType::Dynamic8";
    let side = "SideData::Nested";
  }
}
defm Nf4 : BnbFormats<97, ElementNF4, "nf4">;
defm Fp4 : BnbFormats<99, ElementFP4, "fp4">;

//===----------------------------------------------------------------------===//
// Trellis-coded: whole rows at any size (ir/codecs/Trellis.h)
//===----------------------------------------------------------------------===//
class TrellisFormat<int number, string enumerator, string spelling, int centi, int tolerance>
    : Format<number, enumerator, spelling, ElementTrellis> {
  let summary = "trellis-coded rows of that many bits a weight, the f16 scale included";
  let family = "CodecFamily::Trellis";
  let centiBits = centi;
  let blockColumns = 0;
  let groupColumns = 0;
  let scale = "ScaleType::F16";
  let panel = "PanelElement::Trellis";
  let toleranceE5 = tolerance;
}
defvar TrellisFirst = 101;
defvar TrellisCenti = [200, 240, 250, 300, 344, 350, 400, 425, 431, 450, 500, 550, 600];
defvar TrellisNames = ["2", "2_4", "2_5", "3", "3_44", "3_5", "4", "4_25", "4_31", "4_5", "5", "5_5",
                       "6"];
// Twice what normal data lose.
defvar TrellisTolerances = [64000, 49000, 46000, 33000, 25000, 23000, 17000, 14000, 13000, 12000,
                            9000, 6500, 5000];
foreach i = !range(!size(TrellisCenti)) in {
  defvar label = TrellisNames[i];
  def Tcq#label#Format : TrellisFormat<!add(TrellisFirst, i), "Tcq" # label, "tcq" # label,
                                      TrellisCenti[i], TrellisTolerances[i]>;
}

//===----------------------------------------------------------------------===//
// Caches
//===----------------------------------------------------------------------===//
def Fp8E4M3HeadFormat : Fp8Format<114, "Fp8E4M3Head", "fp8_e4m3_head", ElementE4M3> {
  let summary = "keys and values in f8E4M3FN, one f32 scale per head, fixed by calibration";
  let side = "SideData::Scale";
  let isWeight = 0;
  let isKv = 1;
}

//===----------------------------------------------------------------------===//
// GGML's blocks of codes of a table of 16 integers
//===----------------------------------------------------------------------===//
class GgmlTableFormat<int number, string enumerator, string spelling, int columns, int bytes,
                      int gguf> : Format<number, enumerator, spelling, ElementIQ4> {
  let family = "CodecFamily::Ggml";
  let blockColumns = columns;
  let blockBytes = bytes;
  let groupColumns = 32;
  let scale = "ScaleType::F16";
  let panelScale = !if(!eq(columns, 32), "ScaleType::F16", "ScaleType::F32");
  let panel = "PanelElement::F32"; // kernels read the numbers that codes stand for
  let ggufType = gguf;
  let toleranceE5 = 12000;
}
def IQ4NLFormat : GgmlTableFormat<115, "IQ4_NL", "iq4_nl", 32, 18, 20> {
  let summary = "GGML: a table of 16 integers, one f16 scale for 32 columns";
}
def IQ4XSFormat : GgmlTableFormat<116, "IQ4_XS", "iq4_xs", 256, 136, 23> {
  let summary = "GGML: a table of 16 integers, super-blocks of 256 columns with 6-bit scales for 32";
}

//===----------------------------------------------------------------------===//
// LLM-FP4 (arXiv:2310.16836): floats of 4 bits with a real bias, that is a scale, for each
// output channel, and the split between exponent and mantissa that suits the tensor
//===----------------------------------------------------------------------===//
class RowFp4<int number, string enumerator, string spelling, Element element>
    : GridFormat<number, enumerator, spelling, element, 0> {
  let summary = element.kindName # " floats, one f32 scale per output channel";
  let scale = "ScaleType::F32";
  let toleranceE5 = 30000;
}
def Fp4E1M2Format : RowFp4<117, "Fp4E1M2", "fp4_e1m2", ElementE1M2>;
def Fp4E2M1Format : RowFp4<118, "Fp4E2M1", "fp4_e2m1", ElementE2M1> {
  let summary = "E2M1 floats, one f32 scale per output channel, or per token of activations";
  let isActivation = 1;
}
def Fp4E3M0Format : RowFp4<119, "Fp4E3M0", "fp4_e3m0", ElementE3M0>;
def LlmFp4Format : RowFp4<120, "LlmFp4", "llm_fp4", ElementE2M1> {
  let summary = "LLM-FP4: rows as fp4_e1m2, fp4_e2m1 or fp4_e3m0, whichever errs least on the tensor";
  let family = "CodecFamily::Choice";
  let side = "SideData::Element";
}

//===----------------------------------------------------------------------===//
// 2:4 sparse: of each four columns two are kept, the others are 0. A row is [the values
// kept, as a row of half as many columns in another format][their places, 4 bits for four
// columns]. The group of a scale counts all columns.
//===----------------------------------------------------------------------===//
class Sparse24<int number, string enumerator, string spelling, Element element, Format kept,
               int group> : Format<number, enumerator, spelling, element> {
  let summary = "2:4 sparse: two of four columns in " # kept.name # ", 4 bits for their places";
  let family = "CodecFamily::Sparse";
  let inner = kept.id;
  let blockColumns = 4;
  let groupColumns = group;
  let scale = kept.scale;
  let divisorHalves = kept.divisorHalves;
  let panel = kept.panel;
  let offset = kept.offset;
  let panelScale = kept.panelScale;
  // Half the values of normal data hold all but a tenth of its energy.
  let toleranceE5 = 45000;
}
def F16S24Format : Sparse24<121, "F16S24", "f16_24", ElementF16, F16Format, 0>;
def BF16S24Format : Sparse24<122, "BF16S24", "bf16_24", ElementBF16, BF16Format, 0>;
def Int8S24Format : Sparse24<123, "Int8S24", "int8_24", IntElement<8>, Int8Format, 0>;
def Fp8E4M3S24Format
    : Sparse24<124, "Fp8E4M3S24", "fp8_e4m3_24", ElementE4M3, Fp8E4M3Format, 0>;
def Int4G64S24Format
    : Sparse24<125, "Int4G64S24", "int4_g64_24", IntElement<4>, Int4G32Format, 64>;
def Int4G128S24Format
    : Sparse24<126, "Int4G128S24", "int4_g128_24", IntElement<4>, Int4G64Format, 128>;

//===----------------------------------------------------------------------===//
// Mixed widths: groups of 32 columns of 2, 3, 4, 5, 6 or 8 bits inside one tensor, chosen for it,
// within the bits named (ir/codecs/MixedWidths.h)
//===----------------------------------------------------------------------===//
class MixedFormat<int number, string enumerator, string spelling, int centi, int tolerance>
    : Format<number, enumerator, spelling, IntElement<8>> {
  let summary = "integers of 2 to 8 bits, a width for 32 columns, E4M3 scales, all in the bits named";
  let family = "CodecFamily::Mixed";
  let centiBits = centi;
  let blockColumns = 32;
  let groupColumns = 32;
  let scale = "ScaleType::E4M3";
  let side = "SideData::Widths";
  let offset = 128; // codes of 8 bits
  let toleranceE5 = tolerance;
}
defvar MixedFirst = 127;
defvar MixedCenti = [250, 300, 350, 400, 450, 500, 600];
defvar MixedNames = ["2_5", "3", "3_5", "4", "4_5", "5", "6"];
defvar MixedTolerances = [40000, 30000, 22000, 16000, 11000, 8000, 4500];
foreach i = !range(!size(MixedCenti)) in {
  defvar label = MixedNames[i];
  def Mix#label#Format : MixedFormat<!add(MixedFirst, i), "Mix" # label, "mix" # label,
                                     MixedCenti[i], MixedTolerances[i]>;
}

//===----------------------------------------------------------------------===//
// What is generated
//===----------------------------------------------------------------------===//
def FormatTable : GenericTable {
  let FilterClass = "Format";
  let CppTypeName = "FormatInfo";
  let Fields = ["ordinal", "id", "name", "summary", "family", "kind", "elementBits", "centiBits",
                "blockColumns", "blockBytes", "shortBlock", "groupColumns", "scale", "zero", "rounding",
                "divisorHalves", "side", "panel", "offset", "panelScale", "panelMin",
                "ggufType", "safetensors", "compressedTensors", "modelopt", "modeloptMilliBits",
                "activation", "inner", "isWeight", "isActivation", "isKv", "toleranceE5"];
  // Enumerators and not string literals:
  string TypeOf_id = "code";
  string TypeOf_family = "code";
  string TypeOf_kind = "code";
  string TypeOf_scale = "code";
  string TypeOf_zero = "code";
  string TypeOf_rounding = "code";
  string TypeOf_side = "code";
  string TypeOf_panel = "code";
  string TypeOf_panelScale = "code";
  string TypeOf_activation = "code";
  string TypeOf_inner = "code";
  let PrimaryKey = ["ordinal"];
  let PrimaryKeyName = "lookupFormatByOrdinal";
}

def FormatId : GenericEnum {
  let FilterClass = "Format";
  let NameField = "symbol";
  let ValueField = "ordinal";
}
