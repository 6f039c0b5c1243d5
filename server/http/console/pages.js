// SPDX-License-Identifier: Apache-2.0
// The pages, in the order of the navigation: path, title, the key behind `g`, and what makes one.

import { configs } from './configs.js';
import { overview } from './overview.js';
import { services } from './services.js';

export const pages = [
  { path: 'overview', title: 'Overview', key: 'o', create: overview },
  { path: 'services', title: 'Services', key: 's', create: services },
  { path: 'configs', title: 'Configs', key: 'c', create: configs },
];
