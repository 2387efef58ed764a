#include "ir/codecs/Codec.h"
