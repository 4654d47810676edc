#include "tapdata_connector.h"
