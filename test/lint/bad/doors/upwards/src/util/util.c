#include "apply/apply.h"
