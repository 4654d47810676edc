#include "catalog/catalog_internal.h"
