#include "view/analyze/shape_internal.h"
